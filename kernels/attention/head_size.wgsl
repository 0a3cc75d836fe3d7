// The head size as a constant, because private arrays cannot be sized by an `override`. It is the sum of the conditions
// that are on, so five of them name every multiple of 8 up to 248: 80 is head_64 and head_16.

@if(head_8) const PART_8 = 8u;
@else const PART_8 = 0u;
@if(head_16) const PART_16 = 16u;
@else const PART_16 = 0u;
@if(head_32) const PART_32 = 32u;
@else const PART_32 = 0u;
@if(head_64) const PART_64 = 64u;
@else const PART_64 = 0u;
@if(head_128) const PART_128 = 128u;
@else const PART_128 = 0u;

// Elements of one head.
const HEAD = PART_8 + PART_16 + PART_32 + PART_64 + PART_128;

// The same in vec4s.
const HEAD4 = HEAD / 4u;
