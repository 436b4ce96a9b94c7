-- Shared by every script that changes sessions: each event is written in the same step as the change that it tells.
--
-- A partition has two streams of events. The ring holds the last few for watchers: a message on the user's channel tells
-- them that there is something new, and they read the ring, so that a message from another database tells nothing. In a
-- cluster (SHARDED) the channel is in the slot of the partition, so that the message stays on the node that holds it. The
-- outbox of a receiver holds the events that it wants (OUTBOXES), each until it is delivered.
--
-- The state of a partition is a hash: started, expired, ended, undone (counts of sessions); lost, lost:RECEIVER (see
-- bounds.lua); unreadable (values set aside); layout (the newest that was written); swept, rest, grace, epoch (ms: see
-- expire.lua); pause, pause_since, pause_by, pause_until.
-- @include shared/bounds
-- @include layout/layout-LAYOUT event

local MAX_SEEN = 256 -- KEPT_EVENTS of redis-session-events.ts; at least so many, as trimming by whole nodes costs less
local MAX_WAITING = 4096 -- a partition: with 256 of them about a million, 200 MB at the worst

local planned, in_ring, filled = {}, false, {}

-- The outboxes of the receivers that want events of this type.
local function outboxes_for(type)
  local found = {}
  for suffix, types in string.gmatch(OUTBOXES, '(%S*)( [^;]+);') do
    if string.find(types, ' ' .. type .. ' ', 1, true) then found[#found + 1] = outbox_key .. suffix end
  end
  return found
end

-- Plans an event: `type` is started | moved | ended | expired | refused. A refusal changes nothing, so it is not in the ring.
-- Call it before the record changes any further: the text is made here.
local function plan_event(type, user, record, now, reason, replaced_by)
  local event = { user = user, text = event_text(type, user, record, now, reason, replaced_by) }
  event.ring, event.outboxes = type ~= 'refused', outboxes_for(type)
  in_ring = in_ring or event.ring
  planned[#planned + 1] = event
end

-- Writes the planned events, within `atomically`.
local function write_events()
  for _, event in ipairs(planned) do
    if event.ring then event.id = add_to_stream(ring_key, EVENT_FIELD, event.text) end
    for _, outbox in ipairs(event.outboxes) do
      add_to_stream(outbox, EVENT_FIELD, event.text)
      filled[outbox] = true
    end
  end
end

-- After the step: tells watchers, and cuts the streams to their bounds. Nothing here can fail the step.
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
