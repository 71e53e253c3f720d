-- A key of an idempotency store holds `L` (locked) or `D` (done), the token, and when it ends in
-- milliseconds. The end stands in the value too, for clocks that tests drive.
local function look(key)
  local kind, token, ends = string.match(call('GET', key) or '', '^(%u):(%d+):(%d+)$')
  if kind and tonumber(ends) > now then return kind, token, tonumber(ends) end
end
local function put(key, kind, token, duration)
  call('SET', key, string.format('%s:%s:%.0f', kind, token, now + duration), 'PX', duration)
end
