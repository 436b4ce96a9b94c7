-- expire: claims what is due in one partition. A session is deleted and its event written in one step, so of any
-- number of sweepers exactly one reports it. Bounded by users and by records, so that a call is short.
-- The buckets' records and indexes are keys of the same slot, named in here because only KEYS[3] knows whose are due.
-- Flags   allow-oom: it frees memory, or takes next to none
-- KEYS[1] the partition's state
-- KEYS[2] the partition's ring
-- KEYS[3] the index of the partition
-- KEYS[4] the partition's outbox
-- ARGV    now | '', prefix of the records, prefix of the indexes, users at most, ttl ms, lease ms, X ms,
--         types for the outbox
-- Returns {sessions expired, 0 | 1 where more is due | 2 where more is due and must wait, 1 where sweeps are paused}
local SHORTEST_OUTAGE = 5000 -- SHORTEST_OUTAGE_MS of admission.ts
local REST = 800 -- REST_MS of redis-session.repository.ts: so long others may leave alone what was swept to the end
local HELD_BACK = 3072 -- with so many events to deliver, sessions wait in their records rather than as events
local MAX_RECORDS = 200 -- an ended session is a record as well, and a user may have a hundred

local now = read_clock(ARGV[1])
local max_users, ttl, lease, x = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local to = book(KEYS[2], KEYS[4], KEYS[1], ARGV[8])
local state = redis.call('HMGET', KEYS[1], 'swept', 'grace', 'pause', 'pause_until')
local swept, grace = tonumber(state[1]), tonumber(state[2]) or 0
local paused = state[3] and (state[4] == '' or now < tonumber(state[4]))

-- Nobody looked for longer than n·X: service or store were away, and clients get one X to ask again. While paused
-- somebody looks, so that a pause is no outage.
if swept and now - swept > math.max(ttl, SHORTEST_OUTAGE) then grace = now + x end
if paused then
  redis.call('HSET', KEYS[1], 'swept', now, 'grace', grace)
  return { 0, 2, 1 }
end
-- While that lasts, or too many events wait, nothing is claimed; who turns out not to be due is re-scored all the same.
local holding = now < grace or (to.wanted ~= '' and redis.call('XLEN', to.outbox) >= HELD_BACK)

to.trims_later = true -- once a call; and the outbox has room for all that a call can claim: see HELD_BACK

local visited, seen, expired, undone, more, held = 0, 0, 0, 0, false, false
for _, bucket in ipairs(redis.call('ZRANGE', KEYS[3], '-inf', now, 'BYSCORE')) do
  local index, records_key = ARGV[3] .. bucket, ARGV[2] .. bucket
  -- One more than there is room for tells that there is more.
  local users = redis.call('ZRANGE', index, '-inf', now, 'BYSCORE', 'LIMIT', 0, max_users - visited + 1)
  if #users > max_users - visited then
    more = true
    users[#users] = nil
  end
  local values = #users > 0 and redis.call('HMGET', records_key, unpack(users)) or {}
  local gone, left, rescored = {}, {}, {}
  for i, user in ipairs(users) do
    if seen >= MAX_RECORDS then
      more = true
      break
    end
    visited = visited + 1
    local kept, next_due = {}, nil
    local records = decode(values[i], ttl, lease)
    seen = seen + #records
    for _, record in ipairs(records) do
      if record.due > now then
        kept[#kept + 1] = record
        if not next_due or record.due < next_due then next_due = record.due end
      elseif holding then
        held = true
      elseif record.status == PERMANENT then
        expired = expired + 1
        tell(to, user, 'expired', record, now)
      elseif record.status == RESERVED then
        undone = undone + 1
      end
    end
    if held then
      more = true
      break
    elseif #kept == 0 then
      gone[#gone + 1] = user
    else
      if #kept < #records then
        left[#left + 1] = user
        left[#left + 1] = encode(kept)
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
  if more then break end
  local first = redis.call('ZRANGE', index, 0, 0, 'WITHSCORES')
  if first[2] then redis.call('ZADD', KEYS[3], first[2], bucket) else redis.call('ZREM', KEYS[3], bucket) end
end
if expired > 0 then trim_ring(to) end
redis.call('HSET', KEYS[1], 'swept', now, 'rest', more and 0 or now + REST, 'grace', grace)
count(KEYS[1], 'expired', expired)
count(KEYS[1], 'undone', undone)
return { expired, held and 2 or (more and 1 or 0), 0 }
