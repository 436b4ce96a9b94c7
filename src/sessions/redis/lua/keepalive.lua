-- keepalive: a paused player keeps its place without a phase. The rule is keepAlive() of admission.ts.
-- Flags   allow-oom: it frees memory, or takes next to none
-- KEYS[1] the users' records
-- ARGV    now | '', user, session, ttl ms, lease ms, longest pause ms
-- Returns {1, now, session (5 values)}   it keeps its place; its activity moved, unless it paused for too long
--         {2, ended at, reason}          this session was ended
--         {3}                            the user holds no such session
local now = read_clock(ARGV[1])
local records = load_records(KEYS[1], ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[5]))
local record = find(records, ARGV[3])
if not record or now >= record.due then return { 3 } end
if record.status == ENDED then return { 2, record.active, record.stream } end
local paused = math.max(0, now - record.active) + record.paused -- the clock may have been set back
if record.status == PERMANENT and paused < tonumber(ARGV[6]) then
  record.active, record.paused, record.version = now, paused, next_version(record.version)
  save_records(KEYS[1], ARGV[2], records)
end
local reply = { 1, now }
append(reply, record)
return reply
