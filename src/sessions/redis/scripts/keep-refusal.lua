-- keep-refusal: puts a refusal into the ring, for watchers who explain it. A refusal changes no session, so this is a step
-- of its own after admit, and nothing is wrong if it fails.
-- KEYS    of the user
-- ARGV    now           ms: when the request was refused
--         user, session, stream
--         device        JSON, or ''
--         subject       the issuer's name of the user, or ''
--         refusal       JSON: the limit, and the sessions that held the places
-- Returns {}
local records_key, index_key, ring_key, state_key, buckets_key, outbox_key, aside_key = unpack(KEYS)
local now, user, session, stream, device, subject, refusal = unpack(ARGV)
-- @include shared/journal
-- @include shared/events

if LAYOUT == 1 then return {} end -- instances of release 0.1.0 may read the ring, and cannot read this

local attempt = {
  id = session, stream = stream, started = 0, active = tonumber(now), phase = 0, version = 0, plays = 0,
  extra = device ~= '' and device,
}
local text = event_text('refused', user, subject ~= '' and subject, attempt, attempt.active, 'session-limit-reached')
planned[1] = { user = user, text = string.sub(text, 1, -2) .. ',"refusal":' .. refusal .. '}', ring = true, outboxes = {} }
in_ring = true
atomically(write_events)
announce_events()
return {}
