-- take: hands a partition's next events to one instance. As long as an instance has events of it that are not settled,
-- nobody is given newer ones, and what a silent instance had goes to one other, all of it: so the events of a session are
-- delivered in order, whoever delivers them.
-- Flags   allow-oom: without it a full Redis would not be drained
-- KEYS    of the partition
-- ARGV    consumer      the instance that asks
--         known         how many of its unsettled events it knows of
--         room          how many events it takes
--         silence       ms after which an instance that said nothing is taken for dead
-- Returns {{entry, times given} ...}
local state_key, ring_key, buckets_key, outbox_key, dead_letters_key, aside_key = unpack(KEYS)
local consumer, known, room, silence = unpack(ARGV)
-- @include shared/group
-- @include shared/journal

known, room, silence = tonumber(known), tonumber(room), tonumber(silence)
if room <= 0 or redis.call('XLEN', outbox_key) == 0 then return {} end

local pending = redis.pcall('XPENDING', outbox_key, GROUP)
if pending.err then
  if not string.find(pending.err, '^NOGROUP') then error(pending) end
  redis.call('XGROUP', 'CREATE', outbox_key, GROUP, '0')
  pending = { 0 }
end
local mine = 0
for _, holder in ipairs(pending[4] or {}) do
  if holder[1] == consumer then mine = tonumber(holder[2]) end
end

local given = {}
if pending[1] == mine and mine <= known then
  local read = redis.call('XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', room, 'STREAMS', outbox_key, '>')
  for i, entry in ipairs(read and read[1][2] or {}) do given[i] = { entry, 1 } end
  return given
end

-- Another's, or of this instance what got lost on its way to it: it speaks of what it knows, so that the rest falls silent.
local silent = {}
for _, entry in ipairs(redis.call('XPENDING', outbox_key, GROUP, '-', '+', pending[1])) do
  local id, holder, idle, times = unpack(entry)
  if idle >= silence then
    silent[#silent + 1] = { id = id, holder = holder, idle = idle, times = times }
  elseif holder ~= consumer then
    return {}
  end
end
atomically(function()
  for _, one in ipairs(silent) do
    -- Nobody tried what was given back. What fell silent may have been the death of its instance: that counts as a try.
    local times = one.holder == RELEASED and one.times or one.times + 1
    local inverse =
      { 'XCLAIM', outbox_key, GROUP, one.holder, 0, one.id, 'IDLE', one.idle, 'RETRYCOUNT', one.times, 'JUSTID' }
    local entry = write(inverse, 'XCLAIM', outbox_key, GROUP, consumer, silence, one.id, 'RETRYCOUNT', times)[1]
    if entry then given[#given + 1] = { entry, times } end
  end
end)
for _, one in ipairs(silent) do
  if one.holder ~= consumer and one.holder ~= RELEASED then
    local left = redis.pcall('XPENDING', outbox_key, GROUP, '-', '+', 1, one.holder)
    if not left.err and #left == 0 then redis.pcall('XGROUP', 'DELCONSUMER', outbox_key, GROUP, one.holder) end
  end
end
return given
