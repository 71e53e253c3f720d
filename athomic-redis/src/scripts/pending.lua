-- What of a stream is pending for a consumer.
--
-- KEYS: the stream. ARGV: group, consumer, age in milliseconds, ids. With age 0 those of the ids that are still
-- pending for it become young again. With another one all that is pending for it gets that age, so that others
-- take it over, and a consumer with nothing pending is removed.
local stream, group, me, age = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local function claim(id)
  redis.call('XCLAIM', stream, group, me, 0, id, 'IDLE', age, 'JUSTID')
end
if age == '0' then
  for arg = 4, #ARGV do
    local id = ARGV[arg]
    if #redis.call('XPENDING', stream, group, id, id, 1, me) > 0 then claim(id) end
  end
  return 1
end
local pending = redis.call('XPENDING', stream, group, '-', '+', 1000, me)
for _, entry in ipairs(pending) do claim(entry[1]) end
if #pending == 0 then redis.call('XGROUP', 'DELCONSUMER', stream, group, me) end
return 1
