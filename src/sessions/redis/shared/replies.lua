-- Shared: appends a session to a reply, as seven consecutive values (readSessions of replies.ts).
local function append(reply, record)
  local n = #reply
  reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4] = record.id, record.stream, record.started, record.active
  reply[n + 5], reply[n + 6], reply[n + 7] = shown(record.phase), record.plays, record.extra or ''
end
