-- admit: decides on a request for a phase. If it admits the request, it takes or renews the place in the same step.
-- The rule is admit() of admission.ts.
-- A full Redis refuses this script. The service then runs it with FULL: a session that has a record continues, and its
-- new record replaces the old one. No other session is admitted (docs/decisions/0018-full-redis.md).
-- Counting and adding are one step. Otherwise concurrent requests of a user could all find the same place free.
-- KEYS    of the user
-- ARGV    now           ms, or '' for the time of this server
--         user, session, stream
--         wanted        the requested phase: an index, '' for the next phase, 'same' for the session's current phase
--         window_end    phases from this index on do not exist; 0 if the stream has no phases
--         limit         how many sessions the user may hold
--         oldest        the oldest phase of a live stream; '' for a stream that is not live
--         start         the phase that a new session of a live stream starts with
--         phase_ms      the duration of a phase
--         last_phase_ms  the duration of the last phase of the window
--         paced         1 for a player that fetches ahead by itself and whose reply can be held back, else ''
--         client        identifies a player without a device, or ''
--         device        JSON, or ''
--         given_subject  the issuer's name of the user, at most 255 bytes, or ''
--         ...           the ids of sessions to end if this one is admitted
-- Returns {1, now, created, live, reserved, started, phase, version, ms to play, device}              admitted
--         if the session continues, followed by seven values of the session before this request: active, phase,
--         stream, paused, ms to play, ahead, run
--         {2, ended at, reason, replaced by}   this session was ended
--         {3, now, retry at, {holders ...}}    the limit is reached; each holder is seven values
--         {4}                                  the phase does not exist
--         {5, now, retry at}                   the session has too much left to play
local records_key, index_key, ring_key, state_key, buckets_key, outbox_key, aside_key = unpack(KEYS)
local now, user, session, stream, wanted, window_end, limit, oldest, start, phase_ms, last_phase_ms, paced, client, device, given_subject = unpack(ARGV)
-- @include shared/records

local MAX_RUN = 15 -- MAX_RUN of admission.ts
now, window_end, limit, oldest = read_clock(now), tonumber(window_end), tonumber(limit), tonumber(oldest)

local own
local others, holders, overdue = {}, {}, {}
local records, subject, value = load_records(user)
-- A full Redis stores no subject that it does not have, because the value must not grow.
if given_subject ~= '' and not FULL then subject = given_subject end
for _, record in ipairs(records) do
  if record.id == session then
    own = record
  else
    others[#others + 1] = record
    if record.status ~= ENDED then
      if now >= record.due then overdue[#overdue + 1] = record else holders[#holders + 1] = record end
    end
  end
end

-- A player that quit may start again. An ended record has the time of its end in `active`, and the reason in `stream`.
if own and own.status == ENDED and now < own.due and not (own.stream == 'left' and now > own.active) then
  return { 2, own.active, own.stream, own.extra or '' }
end

local holds = own ~= nil and own.status ~= ENDED and now < own.due
local ending = {}
if #holders > 0 and (#ARGV > NAMED or not holds) then
  -- @include shared/room
end
local staying = #holders - #ending
local refused = not holds and staying >= limit
local former
if own and (own.status == PERMANENT or (own.status == RESERVED and holds)) then former = own end
if FULL and not former then return redis.error_reply('OOM a full Redis takes no new session') end
local playing = former and former.stream == stream and former or nil

local phase = tonumber(wanted)
if not phase then
  local first = tonumber(start) or 0
  if playing then
    phase = playing.phase + ((wanted == 'same' or playing.run == 0) and 0 or 1)
    if oldest and phase < oldest then
      phase = first
    elseif oldest or wanted == 'same' then
      phase = math.min(phase, window_end - 1)
    end
  else
    phase = first
  end
end
if not refused and (phase < (oldest or 0) or phase >= window_end) then return { 4 } end

-- How many ms the session has left to play. If the clock was set back, the result does not grow.
local plays, ahead, run = 0, 0, 0
if former then plays = math.max(0, former.plays - math.max(0, now - former.active)) end
if wanted == 'same' then
  -- This request is for a playlist or a key, which is no phase. If the live window has moved past the session, the
  -- phases of its run have left the window.
  if playing and playing.phase == phase then ahead, run = playing.ahead, playing.run end
else
  local last = playing and playing.phase or phase
  if playing then ahead, run = playing.ahead, playing.run end
  local furthest = last + ahead
  local unplayed = math.min(run, math.ceil(plays / tonumber(phase_ms)))
  if run > 0 and (phase == last or (phase <= furthest and phase > furthest - unplayed)) then
    -- The session has this phase already and fetches it again.
    ahead = math.min(MAX_RUN, furthest - phase)
  else
    local in_row = run > 0 and phase == furthest + 1
    -- A player that paused, played and paused again has played more than its keepalives tell.
    local played = math.min(former and former.paused or 0, X)
    local most = paced == '1' and in_row and PACED_AHEAD + played or MAX_AHEAD
    if plays > most and not refused then return { 5, now, now + plays - most } end
    plays = plays + tonumber(phase == window_end - 1 and last_phase_ms or phase_ms)
    ahead, run = 0, in_row and math.min(MAX_RUN, run + 1) or 1
  end
end

-- Layout 1 cannot store these. So the reply has the values that later requests will read from a record in layout 1.
if LAYOUT == 1 then plays, ahead, run = X, 0, 1 end

local record = {
  id = session, stream = stream, active = now, phase = phase, paused = 0,
  status = former and former.status or RESERVED,
  started = former and former.started or now,
  version = former and (former.version >= 65535 and 1 or former.version + 1) or 1,
  max_sessions = limit, ahead = ahead, run = run, plays = plays, client = former and former.client, extra = false,
}
if former then
  record.extra = former.extra
  if device ~= '' and former.extra and device ~= former.extra then
    -- @include shared/rename
  end
else
  record.client, record.extra = client ~= '' and client, device ~= '' and device
end
local reply = {
  1, now, holds and 0 or 1, staying + 1, record.status == RESERVED and 1 or 0, record.started, shown(phase), record.version,
  plays, record.extra or '',
}
if former then
  reply[11], reply[12], reply[13], reply[14] = former.active, shown(former.phase), former.stream, former.paused
  reply[15], reply[16], reply[17] = former.plays, former.ahead, former.run
end

-- An admission leaves at most `limit` records that hold a place or can resume one: it claims just enough overdue ones.
local surplus = math.min(staying + #overdue + 1 - limit, #overdue)
-- The session may be due earlier than before: the clock may have been set back, and layout 1 stores no time to play.
local due = due_at(record.status, now, plays)

-- A renewal changes only its own record. The indexes and counts stay as they are: the scores remain lower bounds, and
-- the sweep corrects them.
if former and not refused and former.stream == stream and surplus <= 0 and #ending == 0 and due >= former.due then
  others[#others + 1] = record
  redis.call('HSET', records_key, user, encode(others, subject, value))
  return reply
end

-- @include shared/journal
-- @include shared/changes
-- @include shared/ended
-- @include shared/events
-- @include shared/replies

if refused then
  local listed, expiries = {}, {}
  for i, holder in ipairs(holders) do
    expiries[i] = due_at(PERMANENT, holder.active, holder.plays)
    append(listed, holder)
  end
  table.sort(expiries)
  if #outboxes_for('refused') > 0 then
    local attempt = {
      id = session, stream = stream, started = 0, active = now, phase = 0, version = 0, plays = 0,
      extra = device ~= '' and device,
    }
    plan_event('refused', user, subject, attempt, now, 'session-limit-reached')
    atomically(write_events)
    announce_events()
  end
  return { 3, now, expiries[#holders - limit + 1], listed }
end

local expired, undone = 0, 0
if surplus > 0 then
  table.sort(overdue, longer_silent)
  for i = 1, surplus do
    local claimed = overdue[i]
    local _, at = find(others, claimed.id)
    table.remove(others, at)
    if claimed.status == PERMANENT then
      expired = expired + 1
      plan_event('expired', user, subject, claimed, now)
    else
      undone = undone + 1
    end
  end
end
if own and own.status == RESERVED and not former then undone = undone + 1 end
if #ending > 0 then
  local replaced_by = '{"session":"' .. session .. '"' .. (record.extra and ',"device":' .. record.extra or '') .. '}'
  for _, holder in ipairs(ending) do
    plan_event('ended', user, subject, holder, now, 'replaced', replaced_by)
    close(holder, 'replaced', now, replaced_by)
  end
end
if former and former.stream ~= stream and record.status == PERMANENT then
  plan_event('moved', user, subject, record, now)
end
others[#others + 1] = record
if #ending > 0 then others = forget_oldest_ended(others) end

atomically(function()
  -- Write the scores of the indexes first. Without the record they do no harm.
  if not former or due < former.due then
    redis.call('ZADD', index_key, 'LT', due, user)
    redis.call('ZADD', buckets_key, 'LT', due, string.match(records_key, '%d+$'))
  end
  if not former then count('started', 1) end
  count('undone', undone)
  count('expired', expired)
  count('ended', #ending)
  write_events()
  save_records(user, others, subject, value)
end)
announce_events()
return reply
