/* The descriptor set (API_DESCRIPTOR_SET is its path, given by the Makefile) as read-only data. */
        .section .rodata
        .global stoa_api_descriptor_set
        .global stoa_api_descriptor_set_end
        .balign 16
stoa_api_descriptor_set:
        .incbin API_DESCRIPTOR_SET
stoa_api_descriptor_set_end:
        .byte 0
        .section .note.GNU-stack, "", @progbits
