-- probe: tests everything that requests need, and leaves no data. A replica, a full Redis and a node without this slot
-- refuse it.
-- It asks Redis for each right and does not run the command: a script ends at the first command that lacks a right.
-- KEYS    of the partition
-- ARGV    records, index
--                       keys of a bucket
--         rate          the key of a count of requests
--         layout        the key of the layout
--         audit         the key of the audit
--         channel       a channel without subscribers
-- Returns the commands that the ACL user of this connection may not run on these keys or this channel
local state_key, ring_key, buckets_key, outbox_key, dead_letters_key, aside_key = unpack(KEYS)
local records, index, rate, layout, audit, channel = unpack(ARGV)
-- @include shared/group
-- @include shared/journal

local missing = {}
local function need(...)
  -- Some servers that are compatible with Redis lack this function. They refuse the command itself when it runs.
  if redis.acl_check_cmd and not redis.acl_check_cmd(...) then
    missing[#missing + 1] = table.concat({ ... }, ' ', 1, math.min(2, select('#', ...)))
  end
end

for _, key in ipairs({ records, state_key, aside_key }) do
  need('HGET', key, 'f')
  need('HMGET', key, 'f')
  need('HSET', key, 'f', '1')
  need('HDEL', key, 'f')
  need('HINCRBY', key, 'f', '1')
  need('HSETNX', key, 'f', '1')
  need('HLEN', key)
end
for _, key in ipairs({ index, buckets_key }) do
  need('ZADD', key, '1', 'm')
  need('ZRANGE', key, '0', '0')
  need('ZREM', key, 'm')
  need('EXISTS', key)
end
for _, key in ipairs({ ring_key, outbox_key, dead_letters_key }) do
  need('XADD', key, '*', 'f', '1')
  need('XDEL', key, '1-1')
  need('XTRIM', key, 'MAXLEN', '1')
  need('XLEN', key)
  need('XRANGE', key, '-', '+')
end
need('XGROUP', 'CREATE', outbox_key, GROUP, '0')
need('XGROUP', 'DELCONSUMER', outbox_key, GROUP, 'c')
need('XINFO', 'CONSUMERS', outbox_key, GROUP)
need('XPENDING', outbox_key, GROUP)
need('XCLAIM', outbox_key, GROUP, 'c', '0', '1-1')
need('XACK', outbox_key, GROUP, '1-1')
need('XREADGROUP', 'GROUP', GROUP, 'c', 'STREAMS', outbox_key, '>')
need('SET', rate, '0')
need('INCRBY', rate, '1')
need('GET', layout)
need('SET', layout, '1')
need('ZADD', audit, '1', 'm')
need('ZRANGE', audit, '0', '0')
need('ZREMRANGEBYRANK', audit, '0', '0')
need('ZREMRANGEBYSCORE', audit, '0', '0')
need(SHARDED and 'SPUBLISH' or 'PUBLISH', channel, '')
need(SHARDED and 'SSUBSCRIBE' or 'SUBSCRIBE', channel)
need(SHARDED and 'SUNSUBSCRIBE' or 'UNSUBSCRIBE', channel)
need('EVAL', 'return 1', '1', state_key)
need('EVALSHA', string.rep('0', 40), '1', state_key)
need('TIME')
if #missing > 0 then return missing end

atomically(function()
  write({ 'HDEL', state_key, 'probe' }, 'HSET', state_key, 'probe', '1')
  redis.call(SHARDED and 'SPUBLISH' or 'PUBLISH', channel, '')
  redis.call('HDEL', state_key, 'probe')
end)
return missing
