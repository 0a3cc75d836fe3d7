// The element type of storage buffers: f16 halves the bytes moved, f32 is exact. Arithmetic is in f32 either way.

@if(f16) alias Element = f16;
@else alias Element = f32;
