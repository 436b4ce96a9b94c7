-- replay: puts dead letters back into the outbox, in one step, so that two operators do not put them back twice.
-- Flags   allow-oom: it moves what is there already
-- KEYS    of the partition
-- ARGV    ...           the ids of the dead letters, at least one
-- Returns how many dead letters this call put back
local state_key, ring_key, buckets_key, outbox_key, dead_letters_key, aside_key = unpack(KEYS)
-- @include shared/journal

local found = {}
for _, id in ipairs(ARGV) do
  local letter = redis.call('XRANGE', dead_letters_key, id, id)[1]
  if letter then found[#found + 1] = letter end
end
if #found == 0 then return 0 end
atomically(function()
  local ids = {}
  for i, letter in ipairs(found) do
    ids[i] = letter[1]
    add_to_stream(outbox_key, letter[2][1], letter[2][2])
  end
  redis.call('XDEL', dead_letters_key, unpack(ids))
end)
return #found
