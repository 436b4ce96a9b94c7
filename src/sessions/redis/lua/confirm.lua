-- confirm: the first phase arrived, so the session becomes permanent.
-- Nothing happens where the place is gone: it lapsed and was claimed, or it was ended, or it is another life of the id.
-- Flags   allow-oom: it frees memory, or takes none
-- KEYS[1] the user's records
-- ARGV    session, started
-- Returns 1 where the session is permanent by this call, else 0
local value = redis.call('HGET', KEYS[1], ARGV[1])
if not value then return 0 end
local record = decode(ARGV[1], value, 0, 0) -- when it is due does not matter: it is here
if record.status ~= RESERVED or record.started ~= tonumber(ARGV[2]) then return 0 end
store(KEYS[1], record.id, PERMANENT, record.started, record.active, record.phase, record.version, record.stream)
return 1
