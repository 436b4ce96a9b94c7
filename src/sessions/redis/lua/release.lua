-- release: an instance stops. What it has not settled belongs to nobody then, so that another is given it at once; and
-- consumers that are gone are forgotten, which every reader of the group would have to look at.
-- Flags   allow-oom: it is small, and frees memory
-- KEYS[1] the partition's outbox
-- ARGV    consumer, ms of silence after which one is taken for dead
-- Returns how many events it gave back
local RELEASED = 'released'
local LONG = 3600000 -- ms: a consumer without events that said nothing for so long is gone
local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], GROUP)
if consumers.err then return 0 end

local mine = redis.call('XPENDING', KEYS[1], GROUP, '-', '+', 1000, ARGV[1])
for _, entry in ipairs(mine) do
  redis.call('XCLAIM', KEYS[1], GROUP, RELEASED, 0, entry[1], 'IDLE', ARGV[2], 'JUSTID')
end
for _, consumer in ipairs(consumers) do
  local fields = {}
  for i = 1, #consumer, 2 do fields[consumer[i]] = consumer[i + 1] end
  local gone = fields.name == ARGV[1] or fields.idle >= LONG
  if gone and fields.name ~= RELEASED and #redis.call('XPENDING', KEYS[1], GROUP, '-', '+', 1, fields.name) == 0 then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], GROUP, fields.name)
  end
end
return #mine
