-- A page of a space.
--
-- ARGV: time, prefix, `[` or `(`, where to begin, the most entries. Returns keys and values by turns.
local prefix, from, limit = ARGV[2], ARGV[3] .. ARGV[4], tonumber(ARGV[5])
local out, found = {}, 0
local last = '[' .. prefix .. '\255'
if prefix == '' then last = '+' end
while found < limit do
  local keys = call('ZRANGEBYLEX', ki, from, last, 'LIMIT', 0, math.min(limit - found, 1000))
  if #keys == 0 then break end
  for _, key in ipairs(keys) do
    local value = current(key)
    if value then
      found = found + 1
      out[#out + 1] = key
      out[#out + 1] = value
    end
  end
  from = '(' .. keys[#keys]
end
return out
