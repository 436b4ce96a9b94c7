-- settle: removes an event from the outbox when it was delivered or becomes a dead letter. This is one step, because
-- half of it could leave an event that waits for ever: no instance would get it.
-- Flags   allow-oom: it is small, and without it the outbox would not move
-- KEYS    of the partition
-- ARGV    entry         the id of the event
--         failure       why the last try failed, or '' for a delivered event
--         tries         the number of failed tries
--         max_letters   how many dead letters are kept
-- Returns 1 if this call settled the event, else 0
local state_key, ring_key, buckets_key, outbox_key, dead_letters_key, aside_key = unpack(KEYS)
local entry, failure, tries, max_letters = unpack(ARGV)
-- @include shared/group
-- @include shared/journal
-- @include shared/bounds

local found = redis.call('XRANGE', outbox_key, entry, entry)[1]
if found then
  atomically(function()
    if failure ~= '' then
      add_to_stream(dead_letters_key, found[2][1], found[2][2], 'tries', tries, 'failure', failure)
    end
    redis.call('XDEL', outbox_key, entry)
  end)
end
-- If this fails: an entry that is deleted but not acknowledged leaves the group when an instance next claims it.
redis.pcall('XACK', outbox_key, GROUP, entry)
if found and failure ~= '' then keep_within(dead_letters_key, tonumber(max_letters)) end
return found and 1 or 0
