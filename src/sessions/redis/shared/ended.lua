-- Shared by the scripts that end sessions on purpose.
local MAX_ENDED = 100 -- MAX_ENDED_RECORDS of admission.ts

-- Turns a held record into an ended one.
local function close(record, reason, now)
  record.status, record.started, record.active, record.stream = ENDED, 0, now, reason
  record.phase, record.version, record.paused, record.max_sessions, record.ahead = 0, 0, 0, 0, 0
  record.plays_until, record.client, record.extra, record.at = 0, nil, nil, nil
end

-- Longest silent first. Ids are compared by bytes: Lua's own < follows the server's locale.
local function longer_silent(a, b)
  if a.active ~= b.active then return a.active < b.active end
  for i = 1, math.min(#a.id, #b.id) do
    local x, y = string.byte(a.id, i), string.byte(b.id, i)
    if x ~= y then return x < y end
  end
  return #a.id < #b.id
end

-- Without the oldest of the ended ones beyond MAX_ENDED.
local function forget_oldest_ended(records)
  local ended, forgotten, kept = {}, {}, {}
  for _, record in ipairs(records) do
    if record.status == ENDED then ended[#ended + 1] = record end
  end
  if #ended <= MAX_ENDED then return records end
  table.sort(ended, longer_silent)
  for i = 1, #ended - MAX_ENDED do forgotten[ended[i]] = true end
  for _, record in ipairs(records) do
    if not forgotten[record] then kept[#kept + 1] = record end
  end
  return kept
end
