#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""Installs the build into a scratch directory and uses it as strangers do.

usage: check_install.py pkgconfig|cmake|pc_name|subproject SOURCE BUILD SCRATCH VERSION PREFIX LIBDIR
Compilers come from the environment (CC, CXX) as meson set them. Exit 77: a tool is missing.
"""
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

SKIP = 77
HERE = Path(__file__).resolve().parent
CC = shlex.split(os.environ.get("CC", "cc"))
CXX = shlex.split(os.environ.get("CXX", "c++"))
STRICT = ["-Wall", "-Wextra", "-pedantic", "-Werror", "-Wno-missing-field-initializers"]


def run(command, **keywords):
    print("+", shlex.join(str(c) for c in command), flush=True)
    return subprocess.run([str(c) for c in command], check=True, **keywords)


def output(command, **keywords):
    return run(command, stdout=subprocess.PIPE, text=True, **keywords).stdout


def require(tool):
    if shutil.which(tool) is None:
        print(f"SKIPPED: {tool} is not installed")
        sys.exit(SKIP)


def meson():
    """The meson that runs this test, without its last word."""
    words = shlex.split(os.environ.get("MESONINTROSPECT", "meson introspect"))
    return words[:-1]


class Installed:
    """An installed tree under a scratch directory; its .pc files are told where they are."""

    def __init__(self, build, scratch, prefix, libdir):
        self.root = scratch / "root"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        run(meson() + ["install", "-C", build, "--no-rebuild", "--quiet", "--destdir", self.root])
        self.prefix = Path(str(self.root) + prefix)
        self.lib = self.prefix / libdir
        for pc in (self.lib / "pkgconfig").glob("*.pc"):
            pc.write_text(re.sub(r"^prefix=.*", f"prefix={self.prefix}", pc.read_text(), flags=re.M))
        self.env = dict(os.environ, LD_LIBRARY_PATH=str(self.lib),
                        PKG_CONFIG_PATH=str(self.lib / "pkgconfig"))

    def flags(self, *arguments):
        return shlex.split(output(["pkg-config", *arguments], env=self.env))


def check_pkgconfig(source, build, scratch, version, prefix, libdir):
    require("pkg-config")
    tree = Installed(build, scratch, prefix, libdir)
    assert tree.flags("--modversion", "quantlib") == [version]
    cflags = tree.flags("--cflags", "quantlib-threads")
    shared = tree.flags("--libs", "quantlib-threads")
    assert not {"-lopenblas", "-llapacke", "-ljansson", "-lm"} & set(shared), shared
    # The archive beside the shared library has to be asked for by name.
    static = [f"-l:lib{f[2:]}.a" if f.startswith("-lquantlib") else f
              for f in tree.flags("--static", "--libs", "quantlib-threads")]
    languages = [("c99", CC + ["-std=c99"]), ("c11", CC + ["-std=c11"]),
                 ("cxx98", CXX + ["-x", "c++", "-std=c++98"]),
                 ("cxx17", CXX + ["-x", "c++", "-std=c++17"])]
    for name, compiler in languages:
        object_file = scratch / f"{name}.o"
        run(compiler + STRICT + cflags + ["-c", HERE / "consumer.c", "-o", object_file])
        linker = CXX if name.startswith("cxx") else CC
        for kind, libs in (("shared", shared), ("static", static)):
            program = scratch / f"{name}_{kind}"
            run(linker + [object_file, "-o", program] + libs)
            needed = output(["readelf", "-d", program])
            assert ("libquantlib.so" in needed) == (kind == "shared"), needed
            run([program], env=tree.env)
    check_howto(source, scratch, tree)


def check_howto(source, scratch, tree):
    """The program in doc/howto/embed.md, compiled and linked by the lines that stand there."""
    text = (source / "doc" / "howto" / "embed.md").read_text()
    program = re.search(r"```c\n(.*?)```", text, re.S).group(1)
    (scratch / "program.c").write_text(program)
    for standard, name in (("c99", "program.c"), ("c++98", "program.cpp")):
        (scratch / name).write_text(program)
        compiler = CC if standard == "c99" else CXX
        run(compiler + STRICT + [f"-std={standard}"] + tree.flags("--cflags", "quantlib")
            + ["-c", name, "-o", "program.o"], cwd=scratch)
    env = dict(tree.env, PATH=tree.env["PATH"])
    lines = re.findall(r"^    (cc program\..*)$", text, re.M)
    assert len(lines) == 2, lines
    (scratch / "program.o").unlink()
    run(CC + tree.flags("--cflags", "quantlib") + ["-c", "program.c", "-o", "program.o"], cwd=scratch)
    for line in lines:
        line = shlex.join(CC) + line.removeprefix("cc")
        run(["sh", "-c", line], cwd=scratch, env=env)
        result = output([scratch / "program"], env=env)
        assert result.endswith(": -0.5 0 0.5\n"), result


def check_cmake(source, build, scratch, version, prefix, libdir):
    require("cmake")
    tree = Installed(build, scratch, prefix, libdir)
    # Paths inside the package are relative, so the tree may be moved.
    moved = tree.prefix.with_name("moved")
    tree.prefix.rename(moved)
    tree.env["LD_LIBRARY_PATH"] = ""
    out = scratch / "cmake"
    run(["cmake", "-S", HERE / "cmake", "-B", out, f"-DCMAKE_PREFIX_PATH={moved}",
         f"-DEXPECTED_VERSION={version}"], env=tree.env)
    run(["cmake", "--build", out], env=tree.env)
    for program in ("consumer_shared", "consumer_static", "consumer_cxx"):
        needed = output(["readelf", "-d", out / program])
        assert ("libquantlib.so" in needed) == (program != "consumer_static"), needed
        run([out / program], env=tree.env)


def check_pc_name(source, build, scratch, version, prefix, libdir):
    shutil.rmtree(scratch, ignore_errors=True)
    run(meson() + ["setup", scratch, source, "-Dpc_name=qlrt", "-Dquantizers=false",
                   "-Dprograms=false", "-Dtests=false", "-Dbench=false"],
        stdout=subprocess.DEVNULL)
    private = scratch / "meson-private"
    names = sorted(p.name for p in private.glob("*.pc") if "uninstalled" not in p.name)
    assert names == ["qlrt-threads.pc", "qlrt.pc"], names
    assert re.search(r"^Requires: qlrt$", (private / "qlrt-threads.pc").read_text(), re.M)
    assert "blas" not in (private / "qlrt.pc").read_text()


def check_subproject(source, build, scratch, version, prefix, libdir):
    """As a subproject without the quantizers: no BLAS in sight, and products run."""
    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / "subprojects").mkdir(parents=True)
    shutil.copy(HERE / "subproject" / "meson.build", scratch)
    shutil.copy(HERE / "consumer.c", scratch)
    (scratch / "subprojects" / "quantlib").symlink_to(source)
    run(meson() + ["setup", scratch / "build", scratch], stdout=subprocess.DEVNULL)
    run(["ninja", "-C", scratch / "build", "-j2", "consumer"], stdout=subprocess.DEVNULL)
    program = scratch / "build" / "consumer"
    library = scratch / "build" / "subprojects" / "quantlib" / "lib" / "libquantlib.so"
    for binary in (program, library):
        needed = re.findall(r"NEEDED.*\[(.*)\]", output(["readelf", "-d", binary]))
        print(binary.name, needed)
        assert not [n for n in needed if re.search("blas|lapack|gfortran", n)], needed
    run([program])


def main():
    check = {"pkgconfig": check_pkgconfig, "cmake": check_cmake, "pc_name": check_pc_name,
             "subproject": check_subproject}[sys.argv[1]]
    source, build, scratch = (Path(a).resolve() for a in sys.argv[2:5])
    check(source, build, scratch, *sys.argv[5:8])


if __name__ == "__main__":
    main()
