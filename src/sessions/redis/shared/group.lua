-- Shared by the scripts that hand out the outbox.
local GROUP = 'callbacks' -- GROUP of redis-callback-outbox.ts
local RELEASED = 'released' -- the consumer that owns the events that instances gave back
