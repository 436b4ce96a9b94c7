-- admit: decides on a phase and, if it admits, takes or renews the place. The rule is admit() of admission.ts.
-- One step, because between a count and an add ten other requests of the same user could see the same free place.
-- KEYS    of the user
-- ARGV    now           ms, or '' for the time of this server
--         user, session, stream
--         wanted        the phase: an index, '' for the next, 'same' for the one that the session has
--         window_end    phases from here on do not exist; 0 where the stream has none
--         limit         how many sessions the user may hold
--         oldest        the oldest phase of a live stream; '' for one that is not live
--         start         the phase that a newcomer to a live stream starts with
--         ...           sessions to end if this one is admitted
-- Returns {1, now, created, live, reserved, started, phase, version}                               admitted
--         the same and {active, phase, stream, paused} of the session as it was before, in the same row, if it goes on
--         {2, ended at, reason}                this session was ended
--         {3, now, retry at, {holders ...}}    the limit is reached; a holder is five values
--         {4}                                  no such phase
local records_key, index_key, ring_key, state_key, buckets_key, outbox_key, aside_key = unpack(KEYS)
local now, user, session, stream, wanted, window_end, limit, oldest, start = unpack(ARGV)
-- @include shared/records

now, window_end, limit, oldest = read_clock(now), tonumber(window_end), tonumber(limit), tonumber(oldest)
local to_end = {}
for i = 10, #ARGV do to_end[ARGV[i]] = true end

local own
local others, holders, ending, overdue = {}, {}, {}, {}
local records, subject, value = load_records(user)
for _, record in ipairs(records) do
  if record.id == session then
    own = record
  else
    others[#others + 1] = record
    if record.status ~= ENDED then
      if now >= record.due then
        overdue[#overdue + 1] = record
      else
        holders[#holders + 1] = record
        if to_end[record.id] then ending[#ending + 1] = record end
      end
    end
  end
end

if own and own.status == ENDED and now < own.due then return { 2, own.active, own.stream } end

local holds = own ~= nil and own.status ~= ENDED and now < own.due
local staying = #holders - #ending
local refused = not holds and staying >= limit
local former
if own and (own.status == PERMANENT or (own.status == RESERVED and holds)) then former = own end

local phase = tonumber(wanted)
if not phase then
  local first = tonumber(start) or 0
  if former and former.stream == stream then
    phase = former.phase + (wanted == 'same' and 0 or 1)
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

local record = {
  id = session, stream = stream, active = now, phase = phase, paused = 0,
  status = former and former.status or RESERVED,
  started = former and former.started or now,
  version = former and (former.version >= 65535 and 1 or former.version + 1) or 1,
  max_sessions = limit, ahead = 0, plays_until = 0,
  client = former and former.client, extra = former and former.extra,
}
local reply = {
  1, now, holds and 0 or 1, staying + 1, record.status == RESERVED and 1 or 0, record.started, phase, record.version,
}
if former then
  reply[9], reply[10], reply[11], reply[12] = former.active, former.phase, former.stream, former.paused
end

-- At most `limit` records may ever be confirmed or resumed, so just enough of the overdue give way.
local surplus = math.min(staying + #overdue + 1 - limit, #overdue)

-- A renewal changes its own record and nothing else. Indexes and counts stay as they are: the scores remain lower bounds,
-- and the sweep corrects them.
if former and former.stream == stream and surplus <= 0 and #ending == 0 then
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
    expiries[i] = holder.active + TTL
    append(listed, holder)
  end
  table.sort(expiries)
  if wants('refused') then
    local attempt = { id = session, stream = stream, started = 0, active = now, phase = 0, version = 0 }
    plan_event('refused', user, attempt, now, 'session-limit-reached')
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
      plan_event('expired', user, claimed, now)
    else
      undone = undone + 1
    end
  end
end
if own and own.status == RESERVED and not former then undone = undone + 1 end
for _, holder in ipairs(ending) do
  plan_event('ended', user, holder, now, 'replaced')
  close(holder, 'replaced', now)
end
if former and former.stream ~= stream and record.status == PERMANENT then
  plan_event('moved', user, record, now)
end
others[#others + 1] = record
if #ending > 0 then others = forget_oldest_ended(others) end

atomically(function()
  -- First the lower bounds, which do no harm without the record.
  if not former then
    redis.call('ZADD', index_key, 'LT', now + LEASE, user)
    redis.call('ZADD', buckets_key, 'LT', now + LEASE, string.match(records_key, '%d+$'))
    count('started', 1)
  end
  count('undone', undone)
  count('expired', expired)
  count('ended', #ending)
  write_events()
  save_records(user, others, subject, value)
end)
announce_events()
return reply
