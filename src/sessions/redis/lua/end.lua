-- end: closes sessions on purpose. Their places are free at once; each is remembered as ended until it is due.
-- The indexes stay as they are: an ended record is due later than the session was, or than a session renewed now.
-- Flags   allow-oom: it frees memory, or takes next to none
-- KEYS[1] the users' records
-- KEYS[2] the partition's ring
-- KEYS[3] the partition's state
-- KEYS[4] the partition's outbox
-- ARGV    now | '', user, reason, ttl ms, lease ms, types for the outbox, 1 for all of them, else the ids ...
-- Returns {now, {sessions ended now ...}, {ids ended before ...}}
local now, user = read_clock(ARGV[1]), ARGV[2]
local to = book(KEYS[2], KEYS[4], KEYS[3], ARGV[6])
local all, wanted = ARGV[7] == '1', {}
for i = 8, #ARGV do wanted[ARGV[i]] = true end

local records = load_records(KEYS[1], user, tonumber(ARGV[4]), tonumber(ARGV[5]))
local closed, ended, before = 0, {}, {}
for _, record in ipairs(records) do
  if (all or wanted[record.id]) and now < record.due then
    if record.status == ENDED then
      before[#before + 1] = record.id
    else
      append(ended, record)
      tell(to, user, 'ended', record, now, ARGV[3])
      close(record, ARGV[3], now)
      closed = closed + 1
    end
  end
end
if closed > 0 then
  save_records(KEYS[1], user, forget_oldest_ended(records))
  count(KEYS[3], 'ended', closed)
end
return { now, ended, before }
