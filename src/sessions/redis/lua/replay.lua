-- replay: puts a dead letter back into the outbox, in one step, so that two operators do not put it back twice.
-- Its text says that it is a replay: watchers have seen it before.
-- KEYS[1] the partition's log
-- KEYS[2] the partition's dead letters
-- ARGV    dead letter, its text
-- Returns 1 where it is put back by this call, else 0
if redis.call('XDEL', KEYS[2], ARGV[1]) == 0 then return 0 end
redis.call('XADD', KEYS[1], '*', 'e', ARGV[2] .. ' replay')
return 1
