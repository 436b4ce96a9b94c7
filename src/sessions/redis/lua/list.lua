-- list: the sessions that hold a place now, in no order.
-- Flags   no-writes
-- KEYS[1] the users' records
-- ARGV    now | '', user, ttl ms, lease ms
-- Returns {now, sessions ...}
local now = read_clock(ARGV[1])
local reply = { now }
for _, record in ipairs(load_records(KEYS[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]))) do
  if record.status ~= ENDED and now < record.due then append(reply, record) end
end
return reply
