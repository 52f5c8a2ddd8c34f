//! A real Debian: a C program is compiled in one stage, copied into a small image by another, and run.

use crate::world::{World, root_tar};

#[test]
fn a_program_is_compiled_in_one_stage_and_runs_in_another() {
    let world = World::new();
    world.ok(&["import", root_tar("debian-gcc.tar").to_str().unwrap(), "debian-gcc"]);
    world.write("ctx/hello.c", "#include <stdio.h>\nint main(void) { puts(\"compiled\"); return 0; }\n");
    let dockerfile = "FROM debian-gcc AS build\nWORKDIR /src\nCOPY hello.c .\nRUN gcc -O2 -static -o /hello hello.c\n\
                      FROM scratch\nCOPY --from=build /hello /hello\nENTRYPOINT [\"/hello\"]\n";
    world.write("ctx/Dockerfile", dockerfile);
    world.build(&["-t", "hello", "ctx"]);
    assert_eq!(world.ok(&["run", "--rm", "hello"]), "compiled\n");
    let user =
        world.ok(&["run", "--rm", "-u", "nobody", "debian-gcc", "sh", "-c", "id -un; cat /etc/debian_version | wc -l"]);
    assert_eq!(user, "nobody\n1\n");
    // A comment is no change to the program, so nothing behind the compiler runs.
    world.write("ctx/hello.c", "#include <stdio.h>\n/* same */\nint main(void) { puts(\"compiled\"); return 0; }\n");
    let summary = world.build_summary(&["-t", "hello", "ctx"]);
    assert_eq!(
        summary,
        "ran: COPY hello.c .; RUN gcc -O2 -static -o /hello hello.c\ncached: COPY --from=build /hello /hello; WORKDIR /src\n"
    );
}
