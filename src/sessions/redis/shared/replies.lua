-- Shared: how a session travels in a reply: five values in a row (FlatSession of replies.ts).
local function append(reply, record)
  local n = #reply
  reply[n + 1], reply[n + 2], reply[n + 3] = record.id, record.stream, record.started
  reply[n + 4], reply[n + 5] = record.active, record.phase
end
