-- Shared by every script: what happened, written down in the step that makes it happen.
--
-- An event is an entry of a stream: one field `e`, a text of words with spaces between, because ids have none and an
-- operator can read it:
--   type at user session stream started active phase version reason|-
-- A partition has two streams of them. The ring holds the last few for watchers, who are told the entry's id by a
-- message on the channel `sg:u:<user>` and read the ring, so that a message from another database tells nothing. The
-- outbox holds those that somebody wants delivered, each until it is: its consumer group is GROUP.
--
-- The state of a partition is a hash: started, expired, ended, undone (counts of sessions); lost (events and dead
-- letters dropped because there were too many); swept, rest, grace (ms: see expire.lua); pause, pause_since, pause_by,
-- pause_until.
local GROUP = 'callbacks'
local MAX_SEEN = 256 -- KEPT_EVENTS of redis-session-events.ts; at least so many, as trimming by whole nodes costs less
local MAX_WAITING = 4096 -- a partition: with 256 of them about a million, 200 MB at the worst

-- Where events go: `wanted` has the types for the outbox, with spaces around.
local function book(ring, outbox, state, wanted)
  return { ring = ring, outbox = outbox, state = state, wanted = wanted, wants = {} }
end

-- Looked up once a call: a sweep asks for every session it claims, and a renewal does not ask at all.
local function wants(to, type)
  local found = to.wants[type]
  if found == nil then
    found = string.find(to.wanted, ' ' .. type .. ' ', 1, true) ~= nil
    to.wants[type] = found
  end
  return found
end

local function count(state, what, by)
  if by > 0 then redis.call('HINCRBY', state, what, by) end
end

-- What tell() does for every event, done once by who tells many in a call (`trims_later`).
local function trim_ring(to)
  redis.call('XTRIM', to.ring, 'MAXLEN', '~', MAX_SEEN)
end

-- `type` is started | moved | ended | expired | refused. A refusal changes nothing, so no watcher is told of it.
local function tell(to, user, type, record, now, reason)
  local text = table.concat({
    type, now, user, record.id, record.stream, record.started, record.active, record.phase, record.version,
    reason or '-',
  }, ' ')
  if type ~= 'refused' then
    local id = to.trims_later and redis.call('XADD', to.ring, '*', 'e', text)
      or redis.call('XADD', to.ring, 'MAXLEN', '~', MAX_SEEN, '*', 'e', text)
    redis.call('PUBLISH', 'sg:u:' .. user, id)
  end
  if wants(to, type) then
    redis.call('XADD', to.outbox, '*', 'e', text)
    if not to.trims_later and redis.call('XLEN', to.outbox) > MAX_WAITING then
      count(to.state, 'lost', redis.call('XTRIM', to.outbox, 'MAXLEN', MAX_WAITING))
    end
  end
end
