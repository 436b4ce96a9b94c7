-- admit: decides on a phase and, where it admits, takes or renews the place. The rule is admit() of admission.ts.
-- One step, because between a count and an add ten other requests of the same user could see the same free place.
-- KEYS[1] the users' records
-- KEYS[2] the index of the bucket
-- KEYS[3] the partition's ring
-- KEYS[4] the partition's state
-- KEYS[5] the index of the partition
-- KEYS[6] the partition's outbox
-- ARGV    now | '', user, session, stream, phase | '' (the next) | 'same', phases, limit, ttl ms, lease ms,
--         types for the outbox, bucket, oldest phase | '' (not live), phase to start with, ids to end ...
-- Returns {1, now, created, live, {reserved, started, phase, version}, {active, phase, stream, paused} of the former
--            | nil}                                   admitted
--         {2, ended at, reason}                       this session was ended
--         {3, now, retry at, {holders ...}}           the limit is reached
--         {4}                                         no such phase
local now = read_clock(ARGV[1])
local user, session, stream = ARGV[2], ARGV[3], ARGV[4]
local phases, limit, ttl, lease = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local to, to_end = book(KEYS[3], KEYS[6], KEYS[4], ARGV[10]), {}
for i = 14, #ARGV do to_end[ARGV[i]] = true end

local own
local others, holders, ending, overdue = {}, {}, {}, {}
for _, record in ipairs(load_records(KEYS[1], user, ttl, lease)) do
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
if not holds and staying >= limit then
  local listed, expiries = {}, {}
  for i, holder in ipairs(holders) do
    expiries[i] = holder.active + ttl
    append(listed, holder)
  end
  table.sort(expiries)
  if wants(to, 'refused') then
    local refused = { id = session, stream = stream, started = 0, active = now, phase = 0, version = 0 }
    tell(to, user, 'refused', refused, now, 'session-limit-reached')
  end
  return { 3, now, expiries[#holders - limit + 1], listed }
end

local former
if own and (own.status == PERMANENT or (own.status == RESERVED and holds)) then former = own end
local phase, oldest = tonumber(ARGV[5]), tonumber(ARGV[12])
if not phase then
  local start, same = tonumber(ARGV[13]) or 0, ARGV[5] == 'same'
  if former and former.stream == stream then
    phase = former.phase + (same and 0 or 1)
    if oldest and phase < oldest then
      phase = start
    elseif oldest or same then
      phase = math.min(phase, phases - 1)
    end
  else
    phase = start
  end
end
if phase < (oldest or 0) or phase >= phases then return { 4 } end

local record = {
  id = session, stream = stream, active = now, phase = phase, paused = 0,
  status = former and former.status or RESERVED,
  started = former and former.started or now,
  version = former and next_version(former.version) or 1,
}

-- Just enough of the overdue give way, so that no more than `limit` records can ever be confirmed or resumed.
local expired, undone = 0, 0
local surplus = math.min(staying + #overdue + 1 - limit, #overdue)
if surplus > 0 then
  table.sort(overdue, longer_silent)
  for i = 1, surplus do
    local claimed = overdue[i]
    local _, at = find(others, claimed.id)
    table.remove(others, at)
    if claimed.status == PERMANENT then
      expired = expired + 1
      tell(to, user, 'expired', claimed, now)
    else
      undone = undone + 1
    end
  end
end
if own and own.status == RESERVED and not former then undone = undone + 1 end
for _, holder in ipairs(ending) do
  tell(to, user, 'ended', holder, now, 'replaced')
  close(holder, 'replaced', now)
end
if former and former.stream ~= stream and record.status == PERMANENT then
  tell(to, user, 'moved', record, now)
end
others[#others + 1] = record
if #ending > 0 then others = forget_oldest_ended(others) end
save_records(KEYS[1], user, others)

-- A renewal leaves indexes and counts alone: the scores stay lower bounds, and the sweep mends them.
if not former then
  enlist(KEYS[2], KEYS[5], ARGV[11], user, now + lease)
  count(KEYS[4], 'started', 1)
end
count(KEYS[4], 'undone', undone)
count(KEYS[4], 'expired', expired)
count(KEYS[4], 'ended', #ending)
return {
  1, now, holds and 0 or 1, staying + 1,
  { record.status == RESERVED and 1 or 0, record.started, phase, record.version },
  former and { former.active, former.phase, former.stream, former.paused } or false,
}
