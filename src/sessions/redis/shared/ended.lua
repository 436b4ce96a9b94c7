-- Shared by the scripts that end sessions on purpose.
local MAX_ENDED = 100 -- MAX_ENDED_RECORDS of admission.ts

-- Turns a held record into an ended one.
local function close(record, reason, now, replaced_by)
  record.status, record.started, record.active, record.stream = ENDED, 0, now, reason
  record.phase, record.version, record.paused, record.max_sessions = 0, 0, 0, 0
  record.ahead, record.run, record.plays, record.client = 0, 0, 0, nil
  record.extra, record.at = replaced_by, nil
end

-- @include shared/order

-- Returns the records without the oldest ended ones, so that at most MAX_ENDED ended records are left.
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
