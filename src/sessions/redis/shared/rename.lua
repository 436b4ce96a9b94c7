    -- Part of admit: gives the device of this session its new name. All other properties of the device stay.
    local is, given = cjson.decode(former.extra), cjson.decode(device)
    if given.name and given.id == is.id then
      -- The order of the fields is that of deviceText() in device-text.ts, and slashes are not escaped, so that equal
      -- devices have equal texts.
      local function text_of(field, text)
        return text and ',"' .. field .. '":' .. string.gsub(cjson.encode(text), '\\/', '/') or ''
      end
      record.extra = '{' .. string.sub(text_of('id', is.id), 2) .. text_of('name', given.name) .. text_of('type', is.type)
        .. (is.shared ~= nil and ',"shared":' .. tostring(is.shared) or '') .. '}'
    end
