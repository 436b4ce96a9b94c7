-- expire: claims the due records of one partition. It deletes a session and writes its event in one step, so that of
-- any number of sweepers exactly one reports it. A call is short, because it is bounded by users and by records.
-- The script builds the keys of the buckets itself, because only the index of the partition says which
-- buckets are due. These keys are in the same slot. A bucket with a key of a wrong type is skipped, so that it does
-- not block other buckets.
-- Flags   allow-oom: it frees memory, or takes next to none
-- KEYS    of the partition
-- ARGV    now           ms, or '' for the time of this server
--         records_prefix, index_prefix
--                       the prefixes of the keys of the buckets
--         max_users     how many users this call visits at most
-- Returns {sessions expired, 0 | 1 if more is due | 2 if more is due and must wait, 1 if sweeps are paused,
--          values set aside by this call, values set aside so far,
--          epoch of the partition, when it was swept before in ms | 0, now,
--          {for each expiry the ms since it was due}}
local state_key, ring_key, buckets_key, outbox_key, dead_letters_key, aside_key = unpack(KEYS)
local now, records_prefix, index_prefix, max_users = unpack(ARGV)
local SHORTEST_OUTAGE = 5000 -- SHORTEST_OUTAGE_MS of admission.ts
local REST = 800 -- REST_MS of redis-session.repository.ts: timed sweeps skip a fully swept partition for this time
local HELD_BACK = 3072 -- events in an outbox from which on due sessions stay records and do not become more events
local MAX_RECORDS = 200 -- in addition to max_users, because one user may have a hundred records of ended sessions
local records_key -- nil, because this script does not call load_records()
-- @include shared/records
-- @include shared/journal
-- @include shared/quarantine
-- @include shared/events

now, max_users = read_clock(now), tonumber(max_users)
local state = redis.call('HMGET', state_key, 'swept', 'grace', 'pause', 'pause_until', 'unreadable', 'epoch')
local swept, grace, unreadable = tonumber(state[1]), tonumber(state[2]) or 0, tonumber(state[5]) or 0
-- Set once. If an instance sees another epoch than before, Redis lost the partition in between (losses.ts).
local epoch = tonumber(state[6]) or now
local paused = state[3] and (state[4] == '' or now < tonumber(state[4]))

-- If no sweep ran for longer than n·X, the service or the store was down. Clients then get X to send a request. Paused
-- sweeps run as well and note their time, so that a pause does not count as an outage.
if swept and now - swept > math.max(TTL, SHORTEST_OUTAGE) then grace = now + X end
if paused then
  redis.call('HSET', state_key, 'swept', now, 'grace', grace, 'epoch', epoch)
  return { 0, 2, 1, 0, unreadable, epoch, swept or 0, now, {} }
end
-- Whether the outboxes of all receivers of expiries are too full. If only some are, sweeps claim all the same, and
-- these outboxes lose their oldest events: a receiver that is down does not delay the others.
local function receivers_are_behind()
  local outboxes = outboxes_for('expired')
  for _, outbox in ipairs(outboxes) do
    if redis.call('XLEN', outbox) < HELD_BACK then return false end
  end
  return #outboxes > 0
end
-- In a grace period, or while receivers are behind, nothing is claimed. Users that are not due are still re-scored.
local holding = now < grace or receivers_are_behind()

-- The plan: for each bucket the users whose records are gone, left in part, or to be re-scored.
local plan, visited, seen, expired, undone, aside, more, held, lateness = {}, 0, 0, 0, 0, 0, false, false, {}

-- Returns the reply, or nil if the key has a wrong type.
local function list_of(reply)
  if not reply.err then return reply end
  if not string.find(reply.err, '^WRONGTYPE') then error(reply) end
end

-- Plans one bucket, or skips it if one of its keys has a wrong type.
local function plan_bucket(bucket)
  local todo = {
    bucket = bucket, records = records_prefix .. bucket, index = index_prefix .. bucket,
    gone = {}, left = {}, rescored = {}, undo = {}, aside = {},
  }
  -- Read one user more than there is room for, to know whether more users are due.
  local users = list_of(redis.pcall('ZRANGE', todo.index, '-inf', now, 'BYSCORE', 'LIMIT', 0, max_users - visited + 1))
  if not users then return end
  local beyond = #users > max_users - visited
  if beyond then users[#users] = nil end
  local values = #users == 0 and {} or list_of(redis.pcall('HMGET', todo.records, unpack(users)))
  if not values then return end
  more = more or beyond
  plan[#plan + 1] = todo
  for i, user in ipairs(users) do
    if seen >= MAX_RECORDS then
      more = true
      break
    end
    visited = visited + 1
    local kept, next_due, readable, records, subject = {}, nil, true, {}, nil
    if values[i] then readable, records, subject = pcall(decode, values[i]) end
    if not readable then
      todo.aside[user] = values[i]
      records, aside = {}, aside + 1
    end
    seen = seen + #records
    for _, record in ipairs(records) do
      if record.due > now then
        kept[#kept + 1] = record
        if not next_due or record.due < next_due then next_due = record.due end
      elseif holding then
        held = true
      elseif record.status == PERMANENT then
        expired = expired + 1
        lateness[expired] = now - record.due
        plan_event('expired', user, subject, record, now)
      elseif record.status == RESERVED then
        undone = undone + 1
      end
    end
    if held then
      more = true
      break
    elseif #kept == 0 then
      todo.gone[#todo.gone + 1] = user
    else
      if #kept < #records then
        todo.left[#todo.left + 1] = user
        todo.left[#todo.left + 1] = encode(kept, subject, values[i])
      end
      todo.rescored[#todo.rescored + 1] = next_due
      todo.rescored[#todo.rescored + 1] = user
    end
    if values[i] and (#kept == 0 or #kept < #records) then
      todo.undo[#todo.undo + 1] = user
      todo.undo[#todo.undo + 1] = values[i]
    end
  end
  todo.finished = not more
end

for _, bucket in ipairs(redis.call('ZRANGE', buckets_key, '-inf', now, 'BYSCORE')) do
  plan_bucket(bucket)
  if more then break end
end

atomically(function()
  for _, todo in ipairs(plan) do
    for user, value in pairs(todo.aside) do set_aside(user, value) end
  end
  count('expired', expired)
  count('undone', undone)
  write_events()
  for _, todo in ipairs(plan) do
    local inverse = #todo.undo > 0 and { 'HSET', todo.records, unpack(todo.undo) } or nil
    if #todo.left > 0 then write(inverse, 'HSET', todo.records, unpack(todo.left)) end
    if #todo.gone > 0 then write(inverse, 'HDEL', todo.records, unpack(todo.gone)) end
  end
  redis.call('HSET', state_key, 'swept', now, 'rest', more and 0 or now + REST, 'grace', grace, 'layout', LAYOUT, 'epoch', epoch)
end)

announce_events()
-- Raise the scores last, so that they are lower bounds for the former records, too, if the step fails.
for _, todo in ipairs(plan) do
  if #todo.gone > 0 then redis.pcall('ZREM', todo.index, unpack(todo.gone)) end
  if #todo.rescored > 0 then redis.pcall('ZADD', todo.index, unpack(todo.rescored)) end
  local first = todo.finished and redis.pcall('ZRANGE', todo.index, 0, 0, 'WITHSCORES')
  if first and first[2] then
    redis.pcall('ZADD', buckets_key, first[2], todo.bucket)
  elseif first and not first.err then
    redis.pcall('ZREM', buckets_key, todo.bucket)
  end
end
return { expired, held and 2 or (more and 1 or 0), 0, aside, unreadable + aside, epoch, swept or 0, now, lateness }
