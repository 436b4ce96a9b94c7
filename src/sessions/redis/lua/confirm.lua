-- confirm: the first phase arrived, so the session becomes permanent.
-- Nothing happens where the place is gone: it lapsed and was claimed, or it was ended, or it is another life of the id.
-- Flags   allow-oom: it frees memory, or takes next to none
-- KEYS[1] the users' records
-- KEYS[2] the partition's ring
-- KEYS[3] the partition's state
-- KEYS[4] the partition's outbox
-- ARGV    now | '', user, session, started, types for the outbox
-- Returns 1 where the session is permanent by this call, else 0
local records = load_records(KEYS[1], ARGV[2], 0, 0) -- when they are due does not matter: it is here
local record = find(records, ARGV[3])
if not record or record.status ~= RESERVED or record.started ~= tonumber(ARGV[4]) then return 0 end
record.status = PERMANENT
save_records(KEYS[1], ARGV[2], records)
tell(book(KEYS[2], KEYS[4], KEYS[3], ARGV[5]), ARGV[2], 'started', record, read_clock(ARGV[1]))
return 1
