-- take: hands a partition's next events to one instance. As long as an instance has events of it that are not settled,
-- nobody is given newer ones: so the events of a session are delivered in order, whoever delivers them.
-- KEYS[1] the partition's log
-- ARGV    consumer, how many of its events it knows that it has, room, ms of silence after which it is taken for dead,
--         ms for which delivered events are kept
-- Returns {entries given for the first time ...}, {entries that were given before: {entry, times given} ...}
local log, me, known, room = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if redis.call('XLEN', log) == 0 then return { {}, {} } end

local pending = redis.pcall('XPENDING', log, GROUP)
if pending.err then
  redis.call('XGROUP', 'CREATE', log, GROUP, '0')
  pending = { 0 }
end
local fresh, again = {}, {}
if pending[1] > known then
  -- Another's, or of mine what got lost on its way to me: mine from the silence on, for I speak of what I know.
  local claimed = redis.call('XAUTOCLAIM', log, GROUP, me, ARGV[4], '0-0', 'COUNT', math.max(room, 1))
  for i, entry in ipairs(claimed[2]) do
    local given = redis.call('XPENDING', log, GROUP, entry[1], entry[1], 1)
    again[i] = { entry, given[1][4] }
  end
elseif room > 0 then
  local read = redis.call('XREADGROUP', 'GROUP', GROUP, me, 'COUNT', room, 'STREAMS', log, '>')
  if read then fresh = read[1][2] end
end

-- What is delivered stays for watchers for a while; what is not stays. Without room nobody knows what is not.
local oldest = pending[1] > 0 and pending[2] or fresh[1] and fresh[1][1]
if oldest or room > 0 then
  local time = redis.call('TIME')
  local floor = time[1] * 1000 - tonumber(ARGV[5])
  if oldest then floor = math.min(floor, tonumber(string.match(oldest, '^%d+'))) end
  redis.call('XTRIM', log, 'MINID', floor)
end
return { fresh, again }
