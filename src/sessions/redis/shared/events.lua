-- Shared by every script that changes sessions: writes each event in the same step as the change that it reports.
--
-- A partition has two kinds of event streams. The ring keeps the latest events for watchers. A message on the user's
-- channel says that there is a new event, and watchers then read the ring. They do not trust the message itself, which
-- can come from another database of the same Redis. In a cluster (SHARDED) the channel is in the slot of the
-- partition, so that the message stays on one node. The outbox of a receiver keeps the events that this receiver wants
-- (OUTBOXES), each until it is delivered.
--
-- The state of a partition is a hash: started, expired, ended, undone (counts of sessions); lost, lost:RECEIVER (see
-- bounds.lua); unreadable (values set aside); layout (the newest that was written); swept, rest, grace, epoch (ms: see
-- expire.lua); pause, pause_since, pause_by, pause_until.
-- @include shared/bounds
-- @include layout/layout-LAYOUT event

local MAX_SEEN = 256 -- KEPT_EVENTS of redis-session-events.ts. A few more may stay: trimming whole nodes is cheaper
local MAX_WAITING = 4096 -- per partition; about a million events in all 256 partitions, which take at most 200 MB

local planned, in_ring, filled = {}, false, {}

-- The outboxes of the receivers that want events of this type.
local function outboxes_for(type)
  local found = {}
  for suffix, types in string.gmatch(OUTBOXES, '(%S*)( [^;]+);') do
    if string.find(types, ' ' .. type .. ' ', 1, true) then found[#found + 1] = outbox_key .. suffix end
  end
  return found
end

-- Plans an event: `type` is started | moved | ended | expired | refused; `subject` is the user's, or nil. A refusal
-- changes no session, so it is not in the ring; keep-refusal.lua puts some of them there. Call this before the record
-- changes again, because it formats the record now.
local function plan_event(type, user, subject, record, now, reason, replaced_by)
  local event = { user = user, text = event_text(type, user, subject, record, now, reason, replaced_by) }
  event.ring, event.outboxes = type ~= 'refused', outboxes_for(type)
  in_ring = in_ring or event.ring
  planned[#planned + 1] = event
end

-- Writes the planned events. Call this within `atomically`.
local function write_events()
  for _, event in ipairs(planned) do
    if event.ring then event.id = add_to_stream(ring_key, EVENT_FIELD, event.text) end
    for _, outbox in ipairs(event.outboxes) do
      add_to_stream(outbox, EVENT_FIELD, event.text)
      filled[outbox] = true
    end
  end
end

-- Call this after the step: it notifies watchers and trims the streams. An error here does not fail the step.
local function announce_events()
  for _, event in ipairs(planned) do
    if event.id and SHARDED then
      redis.pcall('SPUBLISH', string.gsub(ring_key, 'e$', 'c:') .. event.user, event.id)
    elseif event.id then
      redis.pcall('PUBLISH', 'sg:u:' .. event.user, event.id)
    end
  end
  if in_ring then redis.pcall('XTRIM', ring_key, 'MAXLEN', '~', MAX_SEEN) end
  for outbox in pairs(filled) do keep_within(outbox, MAX_WAITING) end
end
