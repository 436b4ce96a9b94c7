-- expire: claims what is due in one partition. A record is deleted in the step that reports it, so of any number of
-- sweepers exactly one reports it. Bounded by users and by records: a call holds up the server for about a millisecond.
-- The users' records are keys of the same slot, named in here because only the index knows whose are due.
-- Flags   allow-oom: it frees memory, or takes none
-- KEYS[1] the index of the partition
-- ARGV    now | '', prefix of the users' keys, users at most, records at most, ttl ms, lease ms
-- Returns {now, 1 where more may be due, {user, session (5 values), user, session ...}}
local now = read_clock(ARGV[1])
local max_users, max_records = tonumber(ARGV[3]), tonumber(ARGV[4])
local ttl, lease = tonumber(ARGV[5]), tonumber(ARGV[6])

local users = redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, max_users)
local more, seen, expired = #users == max_users, 0, {}
for _, user in ipairs(users) do
  if seen >= max_records then
    more = true
    break
  end
  local key, next_due = ARGV[2] .. user, nil
  for _, record in ipairs(load_records(key, ttl, lease)) do
    seen = seen + 1
    if record.due <= now then
      redis.call('HDEL', key, record.id)
      if record.status == PERMANENT then
        expired[#expired + 1] = user
        append(expired, record)
      end
    elseif not next_due or record.due < next_due then
      next_due = record.due
    end
  end
  if next_due then redis.call('ZADD', KEYS[1], next_due, user) else redis.call('ZREM', KEYS[1], user) end
end
return { now, more and 1 or 0, expired }
