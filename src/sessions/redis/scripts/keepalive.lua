-- keepalive: keeps the place of a paused player without a phase. The rule is keepAlive() of admission.ts.
-- Flags   allow-oom: it frees memory, or takes next to none
-- KEYS    of the user
-- ARGV    now           ms, or '' for the time of this server
--         user, session
-- Returns {1, now, reserved, session (7 values)}  it has its place; its last activity moved, unless it has paused for too
--                                        long or is reserved. `reserved` is 1 or 0
--         {2, ended at, reason, replaced by}  this session was ended
--         {3}                            the user holds no such session
local records_key, index_key, ring_key, state_key, buckets_key, outbox_key, aside_key = unpack(KEYS)
local now, user, session = unpack(ARGV)
-- @include shared/records
-- @include shared/changes
-- @include shared/replies

now = read_clock(now)
local records, subject, value = load_records(user)
local record = find(records, session)
if not record or now >= record.due then return { 3 } end
if record.status == ENDED then return { 2, record.active, record.stream, record.extra or '' } end
local reserved = record.status == RESERVED
local elapsed = math.max(0, now - record.active) -- the clock may have been set back
local paused = math.max(1, elapsed + record.paused)
if reserved or paused < MAX_PAUSE then
  -- A reservation changes in its version alone, so that it is not undone before it lapses.
  if not reserved then
    -- Until its first keepalive after a phase, the player counts as playing.
    if record.paused == 0 then record.plays = math.max(0, record.plays - elapsed) end
    record.active, record.paused = now, paused
  end
  record.version, record.at = next_version(record.version), nil
  save_records(user, records, subject, value)
end
local reply = { 1, now, reserved and 1 or 0 }
append(reply, record)
return reply
