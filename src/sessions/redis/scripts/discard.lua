-- discard: moves an unreadable event from its stream to the quarantine, so that it does not block other events.
-- Flags   allow-oom: it moves what is there already
-- KEYS    of the partition
-- ARGV    stream        outbox | dead_letters
--         entry         the id of the event
-- Returns 1 if this call moved the event, else 0
local state_key, ring_key, buckets_key, outbox_key, dead_letters_key, aside_key = unpack(KEYS)
local stream, entry = unpack(ARGV)
-- @include shared/group
-- @include shared/journal
-- @include shared/quarantine

local key = stream == 'outbox' and outbox_key or dead_letters_key
local found = redis.call('XRANGE', key, entry, entry)[1]
if found then
  atomically(function()
    set_aside(stream .. ' ' .. entry, table.concat(found[2], ' '))
    redis.call('XDEL', key, entry)
  end)
end
if stream == 'outbox' then redis.pcall('XACK', key, GROUP, entry) end
return found and 1 or 0
