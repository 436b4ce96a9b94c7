-- end: ends sessions on purpose. Their places are free at once. Each ended record is kept until it is due.
-- The indexes stay as they are, because an ended record is usually due later than its session was. The exception is a
-- session with more than X left to play: a sweep may remove its ended record late, which does no harm.
-- Flags   allow-oom: it frees memory, or takes next to none
-- KEYS    of the user
-- ARGV    now           ms, or '' for the time of this server
--         user
--         reason        user | operator | left
--         all           1 for all sessions of the user, 0 for the listed ones
--         ...           the ids of the listed sessions
-- Returns {now, {sessions ended now ...}, {ids ended before ...}}; each session is seven values
local records_key, index_key, ring_key, state_key, buckets_key, outbox_key, aside_key = unpack(KEYS)
local now, user, reason, all = unpack(ARGV)
-- @include shared/records
-- @include shared/journal
-- @include shared/changes
-- @include shared/ended
-- @include shared/events
-- @include shared/replies

now = read_clock(now)
local named = {}
for i = NAMED + 1, #ARGV do named[ARGV[i]] = true end

local records, subject, value = load_records(user)
local closed, ended, before = 0, {}, {}
for _, record in ipairs(records) do
  if (all == '1' or named[record.id]) and now < record.due then
    if record.status == ENDED then
      before[#before + 1] = record.id
    else
      append(ended, record)
      plan_event('ended', user, subject, record, now, reason)
      close(record, reason, now)
      closed = closed + 1
    end
  end
end
if closed > 0 then
  atomically(function()
    count('ended', closed)
    write_events()
    save_records(user, forget_oldest_ended(records), subject, value)
  end)
  announce_events()
end
return { now, ended, before }
