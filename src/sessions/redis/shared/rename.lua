    -- Of admit: the name that the device of this session has now. Everything else about the device stays.
    local is, given = cjson.decode(former.extra), cjson.decode(device)
    if given.name and given.id == is.id then
      -- Written in the order of deviceText() of device-text.ts and without escaped slashes, so that the same device has the
      -- same text.
      local function text_of(field, text)
        return text and ',"' .. field .. '":' .. string.gsub(cjson.encode(text), '\\/', '/') or ''
      end
      record.extra = '{' .. string.sub(text_of('id', is.id), 2) .. text_of('name', given.name) .. text_of('type', is.type)
        .. (is.shared ~= nil and ',"shared":' .. tostring(is.shared) or '') .. '}'
    end
