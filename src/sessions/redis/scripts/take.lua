-- take: gives the next events of a partition to one instance. While an instance has unsettled events of the partition,
-- no other instance gets newer ones. If an instance is silent for too long, one other instance takes over all of its
-- events. So the events of a session are always delivered in order.
-- Flags   allow-oom: without it a full Redis would not be drained
-- KEYS    of the partition
-- ARGV    consumer      the instance that asks
--         known         the number of its unsettled events of this partition that the instance knows of
--         room          how many events it takes at most
--         silence       ms without a sign of life after which an instance counts as dead
-- Returns {{entry, delivery count} ...}
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

-- Some events belong to another instance, or this instance never received them because the reply was lost. An instance
-- renews its claim only on events that it knows of. So the idle time of lost ones grows until they count as silent.
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
    -- An event that was given back was not tried. A silent one may have crashed its instance, so that counts as a try.
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
