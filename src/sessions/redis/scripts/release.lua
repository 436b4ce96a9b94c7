-- release: gives back the unsettled events of an instance that stops, so that another instance can take them at once.
-- It also deletes consumers of former instances, because every reader of the group would have to visit them.
-- Flags   allow-oom: it is small, and frees memory
-- KEYS    of the partition
-- ARGV    consumer      the instance
--         silence       ms without a sign of life after which an instance counts as dead
-- Returns how many events it gave back
local state_key, ring_key, buckets_key, outbox_key, dead_letters_key, aside_key = unpack(KEYS)
local consumer, silence = unpack(ARGV)
-- @include shared/group
-- @include shared/journal
local LONG = 3600000 -- ms: a consumer that has no events and was idle for this long is deleted

local consumers = redis.pcall('XINFO', 'CONSUMERS', outbox_key, GROUP)
if consumers.err then
  if string.find(consumers.err, '^NOGROUP') or string.find(consumers.err, 'no such key') then return 0 end
  error(consumers)
end

local mine = redis.call('XPENDING', outbox_key, GROUP, '-', '+', 1000, consumer)
atomically(function()
  for _, entry in ipairs(mine) do
    local id, _, idle = unpack(entry)
    write({ 'XCLAIM', outbox_key, GROUP, consumer, 0, id, 'IDLE', idle, 'JUSTID' },
      'XCLAIM', outbox_key, GROUP, RELEASED, 0, id, 'IDLE', silence, 'JUSTID')
  end
end)
for _, one in ipairs(consumers) do
  local fields = {}
  for i = 1, #one, 2 do fields[one[i]] = one[i + 1] end
  if fields.name ~= RELEASED and (fields.name == consumer or fields.idle >= LONG) then
    local left = redis.pcall('XPENDING', outbox_key, GROUP, '-', '+', 1, fields.name)
    if not left.err and #left == 0 then redis.pcall('XGROUP', 'DELCONSUMER', outbox_key, GROUP, fields.name) end
  end
end
return #mine
