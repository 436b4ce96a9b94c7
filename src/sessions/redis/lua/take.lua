-- take: hands a partition's next events to one instance. As long as an instance has events of it that are not settled,
-- nobody is given newer ones, and what a silent one had goes to one other, all of it: so the events of a session are
-- delivered in order, whoever delivers them.
-- Flags   allow-oom: without it a full Redis would not be drained
-- KEYS[1] the partition's outbox
-- ARGV    consumer, how many of its unsettled events it knows of, room, ms of silence after which one is taken for dead
-- Returns {{entry, times given} ...}
local RELEASED = 'released' -- as release.lua names it
local outbox, me, known, room, silence = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if room <= 0 or redis.call('XLEN', outbox) == 0 then return {} end

local pending = redis.pcall('XPENDING', outbox, GROUP)
if pending.err then
  redis.call('XGROUP', 'CREATE', outbox, GROUP, '0')
  pending = { 0 }
end
local mine = 0
for _, holder in ipairs(pending[4] or {}) do
  if holder[1] == me then mine = tonumber(holder[2]) end
end

local given = {}
if pending[1] == mine and mine <= known then
  local read = redis.call('XREADGROUP', 'GROUP', GROUP, me, 'COUNT', room, 'STREAMS', outbox, '>')
  for i, entry in ipairs(read and read[1][2] or {}) do given[i] = { entry, 1 } end
  return given
end

-- Another's, or of mine what got lost on its way to me: I speak of what I know, so that the rest falls silent.
local silent = {}
for _, entry in ipairs(redis.call('XPENDING', outbox, GROUP, '-', '+', pending[1])) do
  if entry[3] >= silence then
    silent[#silent + 1] = { entry[1], entry[2], entry[4] }
  elseif entry[2] ~= me then
    return {}
  end
end
for _, one in ipairs(silent) do
  -- Nobody tried what was given back. What fell silent may have been the death of its instance: that counts as a try.
  local times = one[2] == RELEASED and one[3] or one[3] + 1
  local entry = redis.call('XCLAIM', outbox, GROUP, me, silence, one[1], 'RETRYCOUNT', times)[1]
  if entry then given[#given + 1] = { entry, times } end
  if one[2] ~= me and one[2] ~= RELEASED and #redis.call('XPENDING', outbox, GROUP, '-', '+', 1, one[2]) == 0 then
    redis.call('XGROUP', 'DELCONSUMER', outbox, GROUP, one[2])
  end
end
return given
