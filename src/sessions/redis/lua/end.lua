-- end: closes sessions on purpose. Their places are free at once; each is remembered as ended until it is due.
-- The index stays as it is: an ended record is due later than the session was, or than a session renewed now.
-- Flags   allow-oom: it frees memory, or takes none
-- KEYS[1] the user's records
-- ARGV    now | '', reason, ttl ms, lease ms, 1 for all of them, else the ids ...
-- Returns {now, {sessions ended now ...}, {ids ended before ...}}
local now = read_clock(ARGV[1])
local all, wanted = ARGV[5] == '1', {}
for i = 6, #ARGV do wanted[ARGV[i]] = true end

local records = load_records(KEYS[1], tonumber(ARGV[3]), tonumber(ARGV[4]))
local ending, ended, before = {}, {}, {}
for _, record in ipairs(records) do
  if (all or wanted[record.id]) and now < record.due then
    if record.status == ENDED then
      before[#before + 1] = record.id
    else
      append(ended, record)
      ending[#ending + 1] = record
    end
  end
end
end_records(KEYS[1], ending, records, ARGV[2], now)
return { now, ended, before }
