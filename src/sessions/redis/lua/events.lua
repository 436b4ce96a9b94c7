-- Shared by every script: what happened, written down in the step that makes it happen.
--
-- The log of a partition is a stream, an entry an event: one field `e`, a text of words with spaces between, because
-- ids have none and an operator can read it:
--   type at user session stream started active phase reason|-
-- Callbacks are delivered from it by the consumer group GROUP. Watchers are told the entry's id by a message on the
-- channel `sg:u:<user>` and read the entry, so that a message from another database of the server tells nothing.
--
-- The state of a partition is a hash: started, expired, ended, undone (counts of sessions); lost (events that were
-- dropped undelivered); swept, rest, grace (ms: see expire.lua); pause, pause_since, pause_by, pause_until.
local GROUP = 'callbacks'
local MAX_EVENTS = 4096 -- a partition: with 256 of them about a million, 200 MB at the worst

-- `type` is started | moved | ended | expired | refused.
local function tell(log, state, user, type, record, now, reason)
  local text = table.concat({
    type, now, user, record.id, record.stream, record.started, record.active, record.phase, reason or '-',
  }, ' ')
  local id = redis.call('XADD', log, '*', 'e', text)
  local over = redis.call('XLEN', log) - MAX_EVENTS
  if over > 0 then redis.call('HINCRBY', state, 'lost', redis.call('XTRIM', log, 'MAXLEN', MAX_EVENTS)) end
  redis.call('PUBLISH', 'sg:u:' .. user, id)
end

local function count(state, what, by)
  if by > 0 then redis.call('HINCRBY', state, what, by) end
end
