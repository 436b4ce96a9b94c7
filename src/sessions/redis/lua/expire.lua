-- expire: claims what is due in one partition. A session is deleted and its event written in one step, so of any
-- number of sweepers exactly one reports it. Bounded by users: a call holds up the server for well under a millisecond.
-- The buckets' records and indexes are keys of the same slot, named in here because only KEYS[3] knows whose are due.
-- Flags   allow-oom: it frees memory, or takes next to none
-- KEYS[1] the partition's state
-- KEYS[2] the partition's log
-- KEYS[3] the index of the partition
-- ARGV    now | '', prefix of the records, prefix of the indexes, users at most, ttl ms, lease ms, X ms,
--         events kept ms | '' (the outbox keeps them)
-- Returns {sessions expired, users visited, 1 where more is due, 1 where sweeps are paused}
local SHORTEST_OUTAGE = 5000 -- admission.ts
local REST = 800 -- ms: so long others may leave a partition alone that was swept to the end
local HELD_BACK = 3072 -- events that wait for delivery: with more, sessions wait in their records rather than as events
local KEPT = 256 -- events kept for watchers, where nothing waits for delivery

local now = read_clock(ARGV[1])
local max_users, ttl, lease, x = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local state = redis.call('HMGET', KEYS[1], 'swept', 'grace', 'pause', 'pause_until')
local swept, grace = tonumber(state[1]), tonumber(state[2]) or 0

-- While paused somebody still looks, so that a pause is not taken for an outage.
if state[3] and (state[4] == '' or now < tonumber(state[4])) then
  if not swept or now - swept >= REST then redis.call('HSET', KEYS[1], 'swept', now) end
  return { 0, 0, 1, 1 }
end

-- Nobody looked for longer than n·X: service or store were away, and clients get one X to ask again.
if swept and now - swept > math.max(ttl, SHORTEST_OUTAGE) then grace = now + x end
local kept = tonumber(ARGV[8])
if kept then
  local time = redis.call('TIME') -- entries are named by the server's own clock
  redis.call('XTRIM', KEYS[2], 'MAXLEN', KEPT)
  redis.call('XTRIM', KEYS[2], 'MINID', time[1] * 1000 - kept)
elseif redis.call('XLEN', KEYS[2]) >= HELD_BACK then
  max_users = 0
end
if now < grace then max_users = 0 end

local visited, expired, undone, more = 0, 0, 0, false
for _, bucket in ipairs(redis.call('ZRANGE', KEYS[3], '-inf', now, 'BYSCORE')) do
  local index = ARGV[3] .. bucket
  local room = max_users - visited
  -- One more than there is room for tells that there is more.
  local users = redis.call('ZRANGE', index, '-inf', now, 'BYSCORE', 'LIMIT', 0, room + 1)
  if #users > room then
    more = true
    users[#users] = nil
  end
  if #users > 0 then
    visited = visited + #users
    local records_key = ARGV[2] .. bucket
    local values = redis.call('HMGET', records_key, unpack(users))
    local gone, left, rescored = {}, {}, {}
    for i, user in ipairs(users) do
      local kept_records, next_due = {}, nil
      local records = decode(values[i], ttl, lease)
      for _, record in ipairs(records) do
        if record.due > now then
          kept_records[#kept_records + 1] = record
          if not next_due or record.due < next_due then next_due = record.due end
        elseif record.status == PERMANENT then
          expired = expired + 1
          tell(KEYS[2], KEYS[1], user, 'expired', record, now)
        elseif record.status == RESERVED then
          undone = undone + 1
        end
      end
      if #kept_records == 0 then
        gone[#gone + 1] = user
      else
        if #kept_records < #records then
          left[#left + 1] = user
          left[#left + 1] = encode(kept_records)
        end
        rescored[#rescored + 1] = next_due
        rescored[#rescored + 1] = user
      end
    end
    if #gone > 0 then
      redis.call('HDEL', records_key, unpack(gone))
      redis.call('ZREM', index, unpack(gone))
    end
    if #left > 0 then redis.call('HSET', records_key, unpack(left)) end
    if #rescored > 0 then redis.call('ZADD', index, unpack(rescored)) end
  end
  if more then break end
  local first = redis.call('ZRANGE', index, 0, 0, 'WITHSCORES')
  if first[2] then redis.call('ZADD', KEYS[3], first[2], bucket) else redis.call('ZREM', KEYS[3], bucket) end
end
redis.call('HSET', KEYS[1], 'swept', now, 'rest', more and 0 or now + REST, 'grace', grace)
count(KEYS[1], 'expired', expired)
count(KEYS[1], 'undone', undone)
return { expired, visited, more and 1 or 0, 0 }
