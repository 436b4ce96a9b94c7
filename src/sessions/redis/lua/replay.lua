-- replay: puts dead letters back into the outbox, in one step, so that two operators do not put them back twice.
-- Flags   allow-oom: it moves what is there already
-- KEYS[1] the partition's outbox
-- KEYS[2] the partition's dead letters
-- ARGV    dead letters ...
-- Returns how many were put back by this call
local replayed = 0
for _, id in ipairs(ARGV) do
  local letter = redis.call('XRANGE', KEYS[2], id, id)[1]
  if letter then
    redis.call('XDEL', KEYS[2], id)
    redis.call('XADD', KEYS[1], '*', 'e', letter[2][2])
    replayed = replayed + 1
  end
end
return replayed
