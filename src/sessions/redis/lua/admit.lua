-- admit: decides on a phase and, where it admits, takes or renews the place. The rule is admit() of admission.ts.
-- One step, because between a count and an add ten other requests of the same user could see the same free place.
-- KEYS[1] the user's records
-- KEYS[2] the index of the user's partition
-- ARGV    now | '', user, session, stream, phase | '' (the next), phases, limit, ttl ms, lease ms, ids to end ...
-- Returns {1, now, created, live, {reserved, started, phase, version}, {active, phase, stream} of the former | nil,
--            {sessions expired ...}}                  admitted
--         {2, ended at, reason}                       this session was ended
--         {3, now, retry at, {holders ...}}           the limit is reached
--         {4}                                         no such phase
local now = read_clock(ARGV[1])
local session, stream = ARGV[3], ARGV[4]
local phases, limit, ttl, lease = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local to_end = {}
for i = 10, #ARGV do to_end[ARGV[i]] = true end

local own
local others, holders, ending, overdue = {}, {}, {}, {}
for _, record in ipairs(load_records(KEYS[1], ttl, lease)) do
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
  return { 3, now, expiries[#holders - limit + 1], listed }
end

local former
if own and (own.status == PERMANENT or (own.status == RESERVED and holds)) then former = own end
local phase = tonumber(ARGV[5])
if not phase then phase = (former and former.stream == stream) and former.phase + 1 or 0 end
if phase >= phases then return { 4 } end

local status = former and former.status or RESERVED
local started = former and former.started or now
local version = former and next_version(former.version) or 1
-- Just enough of the overdue give way, so that no more than `limit` records can ever be confirmed or resumed.
local expired = {}
local surplus = math.min(staying + #overdue + 1 - limit, #overdue)
if surplus > 0 then
  table.sort(overdue, longer_silent)
  for i = 1, surplus do
    redis.call('HDEL', KEYS[1], overdue[i].id)
    if overdue[i].status == PERMANENT then append(expired, overdue[i]) end
  end
end

end_records(KEYS[1], ending, others, 'replaced', now)
store(KEYS[1], session, status, started, now, phase, version, stream)
-- A renewal leaves the index alone: its score stays a lower bound, and the sweep mends it.
if not former then redis.call('ZADD', KEYS[2], 'LT', now + lease, ARGV[2]) end
return {
  1, now, holds and 0 or 1, staying + 1, { status == RESERVED and 1 or 0, started, phase, version },
  former and { former.active, former.phase, former.stream } or false, expired,
}
