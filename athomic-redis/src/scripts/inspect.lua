-- All that is known of an aggregate, and what waits from a sequence on.
--
-- ARGV: time, from, limit. KEYS: s a w p.
-- Returns nothing if there is nothing, else the fields, the owner if it is alive, sequences and frames.
local ks, ka, kw, kp = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local state = call('HMGET', ka, 'x', 'f', 'k', 'n', 'b', 'g', 'h', 'c', 's', 'e', 'o', 'z')
local ends = tonumber(state[12] or nil)
if call('EXISTS', ka) == 0 or (ends and ends <= now) then return {} end
local owner = state[11] or ''
local expiry = owner ~= '' and call('ZSCORE', ks, owner)
if not expiry or tonumber(expiry) <= now then owner = '' end
local fields = {}
for i = 1, 10 do fields[i] = state[i] or '' end
fields[3] = math.ceil(tonumber(state[3] or 0) / 2)
fields[11] = owner
local waiting = call('ZRANGEBYLEX', kw, '[' .. ARGV[2], '+', 'LIMIT', 0, ARGV[3])
local frames = {}
for i = 1, #waiting do frames[i] = call('HGET', kp, waiting[i]) end
return { fields, waiting, frames }
