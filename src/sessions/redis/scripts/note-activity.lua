-- note-activity: moves the last activity of a session forward, because a report says that its player was active. The
-- rule is noteActivity() of admission.ts.
-- The indexes stay as they are, because the session is due no earlier than before.
-- Flags   allow-oom: it frees memory, or takes next to none
-- KEYS    of the user
-- ARGV    now           ms, or '' for the time of this server
--         user, session
--         seen_at       ms: when the player was active
-- Returns {1, now, reserved, session (7 values)}  its last activity moved forward, never past now and never back, unless
--                                        it is reserved. `reserved` is 1 or 0
--         {2, ended at, reason, replaced by}  this session was ended
--         {3}                            the user holds no such session
local records_key, index_key, ring_key, state_key, buckets_key, outbox_key, aside_key = unpack(KEYS)
local now, user, session, seen_at = unpack(ARGV)
-- @include shared/records
-- @include shared/changes
-- @include shared/replies

now = read_clock(now)
local records, subject, value = load_records(user)
local record = find(records, session)
if not record or now >= record.due then return { 3 } end
if record.status == ENDED then return { 2, record.active, record.stream, record.extra or '' } end
local active = math.min(tonumber(seen_at), now)
if record.status == PERMANENT and active > record.active then
  record.plays = math.max(0, record.active + record.plays - active)
  record.active, record.version, record.at = active, next_version(record.version), nil
  save_records(user, records, subject, value)
end
local reply = { 1, now, record.status == RESERVED and 1 or 0 }
append(reply, record)
return reply
