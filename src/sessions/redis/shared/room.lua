  -- Part of admit: finds the holders whose places this session takes (`ending`), by makeRoom() of admission.ts.
  -- @include shared/order
  local named, device_id = {}, nil
  for i = NAMED + 1, #ARGV do named[ARGV[i]] = true end
  if not holds and device ~= '' then
    local own_device = cjson.decode(device)
    if own_device.shared ~= true then device_id = own_device.id end
  end
  local left = {}
  for _, holder in ipairs(holders) do
    local gives_way = named[holder.id]
    if device_id and holder.extra and not gives_way then
      local other = cjson.decode(holder.extra)
      gives_way = other.id == device_id and other.shared ~= true
    end
    if gives_way then ending[#ending + 1] = holder else left[#left + 1] = holder end
  end
  local missing = #left + 1 - limit
  if not holds and client ~= '' and missing > 0 then
    local idle = {}
    for _, holder in ipairs(left) do
      local idle_at = holder.active + math.max(X, holder.plays)
      if holder.client == client and idle_at <= now then idle[#idle + 1] = holder end
    end
    if #idle >= missing then
      table.sort(idle, longer_silent)
      for i = 1, missing do ending[#ending + 1] = idle[i] end
    end
  end
