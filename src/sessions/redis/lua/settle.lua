-- settle: events are delivered, or become dead letters. They leave the outbox in one step: a part of it would leave an
-- event that nobody is given and that waits for ever.
-- Flags   allow-oom: it is small, and without it the outbox would not move
-- KEYS[1] the partition's outbox
-- KEYS[2] the partition's dead letters
-- KEYS[3] the partition's state
-- ARGV    '' for delivered, else why the last try failed, tries, dead letters at most, entries ...
-- Returns how many were settled by this call
local settled = 0
for i = 4, #ARGV do
  local entry = redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])[1]
  redis.call('XACK', KEYS[1], GROUP, ARGV[i])
  settled = settled + redis.call('XDEL', KEYS[1], ARGV[i])
  if entry and ARGV[1] ~= '' then
    redis.call('XADD', KEYS[2], '*', 'e', entry[2][2], 'tries', ARGV[2], 'failure', ARGV[1])
  end
end
if ARGV[1] ~= '' then count(KEYS[3], 'lost', redis.call('XTRIM', KEYS[2], 'MAXLEN', ARGV[3])) end
return settled
