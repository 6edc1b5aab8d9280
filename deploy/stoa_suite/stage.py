"""First half of a start, as the caller, perhaps root: the run folder, the copies of the programs.

As root the run folder and program/ stay root's; only the folders of layout.OWN belong to the account
that the suite runs as, so that nothing a service does can change what root will copy or execute.
"""
import fcntl
import hashlib
import os
import pwd
import shutil
import subprocess
import time

from .control import NONE, STOPPING, Control
from .layout import OWN, Layout, make_alias, short_name
from .settings import REPOSITORY, SuiteError, inherited

ACCOUNT = "stoa"
STATE = "/var/lib/stoa"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TOOLS = ("nginx", "redis-server", "supervisord", "setpriv")
POSTGRES_TOOLS = ("initdb", "postgres", "psql", "pg_receivewal")
# Programs that may be in the build, by their folder under services/.
SERVICE_NAMES = ("auth", "posts", "chat")
# What a running suite reads of the repository itself.
SOURCES = ("gateway/nginx.conf.in", "web", "deploy/suite", "deploy/stoa_suite", "deploy/bootstrap.sql",
           "deploy/backup")


# Folders inside program/, numbered.
RELOAD = "reload-"


def say(text):
    print(text, flush=True)


def check_tools(settings):
    missing = [tool for tool in TOOLS if shutil.which(tool, path=PATH) is None]
    missing += [
        f"{settings['STOA_POSTGRES_BIN']}/{tool}"
        for tool in POSTGRES_TOOLS
        if not os.access(f"{settings['STOA_POSTGRES_BIN']}/{tool}", os.X_OK)
    ]
    if missing:
        raise SuiteError(f"missing: {' '.join(missing)}; run `make deps`")


def account():
    """The account that everything runs as: the caller's, or for root `stoa`, made when it is not there."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid())
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        pass
    useradd = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", STATE]
    try:
        made = subprocess.run(
            [*useradd, "--shell", "/usr/sbin/nologin", ACCOUNT], capture_output=True, text=True, env={"PATH": PATH}
        )
    except OSError as error:
        raise SuiteError(f"useradd: {error.strerror}; make a system account `{ACCOUNT}`: Postgres refuses to run as root")
    if made.returncode != 0:
        raise SuiteError(f"cannot make the account `{ACCOUNT}`, which root needs: {made.stderr.strip()}")
    say(f"Made the system account `{ACCOUNT}`: as root, the suite runs as that.")
    return pwd.getpwnam(ACCOUNT)


def as_account(who):
    """Command prefix that drops root's privileges for good; for others just forbids gaining any."""
    if os.geteuid() != 0:
        return ["setpriv", "--no-new-privs", "--"]
    drop = [f"--reuid={who.pw_uid}", f"--regid={who.pw_gid}", "--init-groups", "--inh-caps=-all"]
    return ["setpriv", *drop, "--no-new-privs", "--"]


def can_enter(who, folder):
    if os.geteuid() != 0:
        return True
    test = [*as_account(who), "test", "-x", folder]
    return subprocess.run(test, env={"PATH": PATH}, cwd="/").returncode == 0


def nearest_existing(path):
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return path


def make_run_dir(path, who):
    """Makes the run folder where it is missing; where `who` could not reach it, under /var/lib/stoa."""
    if not os.path.lexists(path) and not can_enter(who, nearest_existing(path)):
        name = os.path.basename(path)
        name = os.path.basename(os.path.dirname(path)) if name.startswith(".") else name
        digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.symlink(f"{STATE}/{name or 'suite'}-{digest}", path)
        say(f"{path} is out of reach for `{who.pw_name}`: made it a link to {os.readlink(path)}.")
    os.makedirs(os.path.realpath(path), mode=0o755, exist_ok=True)
    return os.path.realpath(path)


def check_run_dir(path, real, who):
    cure = "set STOA_RUN_DIR to another folder"
    status = os.stat(real)
    if status.st_uid != os.geteuid():
        try:
            owner = pwd.getpwuid(status.st_uid).pw_name
        except KeyError:
            owner = f"uid {status.st_uid}"
        raise SuiteError(f"{path} belongs to {owner}: run as {owner} or {cure}")
    if not os.path.exists(f"{real}/lock") and os.listdir(real):
        raise SuiteError(f"{path} is not empty and not a suite's: {cure}")
    if os.geteuid() == 0 and not os.path.exists(f"{real}/lock"):
        os.chmod(real, 0o755)
    if not can_enter(who, real):
        raise SuiteError(f"{path} is out of reach for the account `{who.pw_name}`: {cure}")
    if os.statvfs(real).f_flag & os.ST_NOEXEC:
        raise SuiteError(f"{path} is on a file system mounted noexec: {cure}")


def prepare_run_dir(settings, who):
    path = settings["STOA_RUN_DIR"]
    if os.path.lexists(path) and not os.path.islink(path) and not os.path.isdir(path):
        raise SuiteError(f"{path} is not a folder; set STOA_RUN_DIR to one")
    try:
        real = make_run_dir(path, who)
        check_run_dir(path, real, who)
        base, is_alias = short_name(real)
        if is_alias:
            make_alias(base, real)
        return Layout(base)
    except OSError as error:
        raise SuiteError(f"{path}: {error.strerror}; set STOA_RUN_DIR to a folder that can be written") from None


def take_lock(layout, path):
    try:
        lock = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise SuiteError(f"{path}/lock: {error.strerror}; set STOA_RUN_DIR to a folder that can be written") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def build_outputs(settings):
    """(source, name in program/) of everything that was built, or what is missing and the cure."""
    out = settings["STOA_OUT"]
    build = os.path.dirname(out)
    module = "ngx_http_grpc_json_module.so"
    # With sanitizers the services and libraries are instrumented; nginx, and so its module, is not.
    wanted = [(f"{build}/api.binpb", "api.binpb"), (f"{build}/release/gateway/{module}", module)]
    for service in SERVICE_NAMES:
        binary = f"{out}/bin/{service}"
        if os.path.exists(binary) or os.path.exists(f"{REPOSITORY}/services/{service}/main.c"):
            wanted.append((binary, f"bin/{service}"))
    missing = [source for source, _ in wanted if not os.path.exists(source)]
    if missing:
        raise SuiteError(f"not built: {' '.join(missing)}; run `make build`, or set STOA_OUT")
    return wanted


def copy_programs(settings, layout, who):
    fresh = f"{layout.program}.new"
    copy_all(settings, layout, who, fresh, build_outputs(settings), SOURCES)
    shutil.rmtree(layout.program, ignore_errors=True)
    os.rename(fresh, layout.program)


def copy_all(settings, layout, who, fresh, outputs, sources):
    """What was built and what of the repository is read at run time, into a new folder."""
    shutil.rmtree(fresh, ignore_errors=True)
    os.umask(0o022)
    os.makedirs(f"{fresh}/bin")
    for source, name in outputs:
        shutil.copy(source, f"{fresh}/{name}")
    for name in sources:
        source, copy = f"{REPOSITORY}/{name}", f"{fresh}/{name}"
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        if os.path.isdir(source):
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        elif os.path.exists(source):
            shutil.copy(source, copy)
    make_readable(fresh)
    copy_tls(settings, layout, fresh, who)


def copy_tls(settings, layout, folder, who):
    """The certificate and its key, for the suite's account alone to read."""
    if not settings.tls:
        return
    os.mkdir(f"{folder}/tls", 0o700)
    for setting, name in (("STOA_HTTPS_CERTIFICATE", layout.CERTIFICATE), ("STOA_HTTPS_KEY", layout.KEY)):
        copy = f"{folder}/{name}"
        try:
            with open(settings[setting], "rb") as source, open(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "wb") as target:
                shutil.copyfileobj(source, target)
        except OSError as error:
            raise SuiteError(f"{setting}={settings[setting]}: {error.strerror}") from None
        if os.geteuid() == 0:
            os.chown(copy, who.pw_uid, who.pw_gid)
    if os.geteuid() == 0:
        os.chmod(f"{folder}/tls", 0o755)


def make_readable(top):
    """The clone may have been made under a strict umask; the suite's account must read the copies."""
    for folder, _, files in os.walk(top):
        os.chmod(folder, 0o755)
        for name in files:
            path = os.path.join(folder, name)
            os.chmod(path, 0o755 if os.stat(path).st_mode & 0o100 else 0o644)


def make_own_folders(layout, who):
    for name in OWN:
        path = f"{layout.base}/{name}"
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            continue
        if os.geteuid() == 0:
            os.chown(path, who.pw_uid, who.pw_gid)


def make_backup_folder(settings, who):
    """Where the archive goes: the account's alone."""
    path = settings["STOA_BACKUP_DIR"]
    if not path:
        return
    try:
        os.makedirs(path, mode=0o700)
        if os.geteuid() == 0:
            os.chown(path, who.pw_uid, who.pw_gid)
    except FileExistsError:
        pass
    except OSError as error:
        raise SuiteError(f"STOA_BACKUP_DIR={path}: {error.strerror}; set it to a folder that can be made") from None
    if os.stat(path).st_uid != who.pw_uid or not can_enter(who, path):
        raise SuiteError(f"STOA_BACKUP_DIR={path}: is not {who.pw_name}'s, or out of its reach; give it to that account, or set another")


def has_stopped(layout):
    """Whether nothing runs there; a suite that is stopping is given time."""
    end = time.monotonic() + 30
    control = Control(layout)
    while (state := control.state()) == STOPPING and time.monotonic() < end:
        time.sleep(0.1)
    return state == NONE


def stage(settings):
    """Prepares the run folder. Returns its layout, the account and the held lock; no lock when a suite
    is running there already."""
    check_tools(settings)
    build_outputs(settings)
    who = account()
    layout = prepare_run_dir(settings, who)
    lock = take_lock(layout, settings["STOA_RUN_DIR"])
    if lock is None or not has_stopped(layout):
        return layout, who, None
    make_backup_folder(settings, who)
    try:
        copy_programs(settings, layout, who)
        make_own_folders(layout, who)
    except (OSError, shutil.Error) as error:
        raise SuiteError(f"cannot copy the programs to {layout.program}: {error}; free space or set STOA_RUN_DIR")
    return layout, who, lock


def stage_reload(settings, layout, with_services):
    """A build, or the gateway's part of it, in a folder of its own inside program/: whatever becomes of it, the
    one in use stays whole. Returns the folder, the account and the held lock."""
    who = account()
    lock = os.open(layout.program, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise SuiteError(f"{settings['STOA_RUN_DIR']}: another reload or roll is at work there; wait for it") from None
    numbers = [int(name.removeprefix(RELOAD)) for name in os.listdir(layout.program) if name.startswith(RELOAD)]
    in_use = ""
    for path in (layout.nginx_conf, layout.supervisor_conf):
        with open(path, encoding="utf-8") as file:
            in_use += file.read()
    for number in numbers:
        if f"{layout.program}/{RELOAD}{number}/" not in in_use:
            shutil.rmtree(f"{layout.program}/{RELOAD}{number}", ignore_errors=True)
    folder = f"{layout.program}/{RELOAD}{max(numbers, default=0) + 1}"
    outputs = [(source, name) for source, name in build_outputs(settings) if with_services or not name.startswith("bin/")]
    try:
        copy_all(settings, layout, who, folder, outputs, SOURCES)
    except (OSError, shutil.Error) as error:
        raise SuiteError(f"cannot copy the build to {folder}: {error}") from None
    return folder, who, lock


def continue_unprivileged(command, arguments, settings, layout, who, environment, lock, program=None):
    """Replaces this process by the staged suite (in the folder `program`), as the suite's account."""
    program = program or layout.program
    os.set_inheritable(lock, True)
    clean = inherited(environment)
    clean.update(settings.environment())
    clean.update(PATH=PATH, HOME=layout.base, USER=who.pw_name, LANG="C.UTF-8", TZ="UTC")
    staged = ["/usr/bin/python3", "-B", f"{program}/deploy/suite", command, *arguments]
    os.chdir(layout.base)
    os.execvpe("setpriv", [*as_account(who), *staged, f"--staged={layout.base}", f"--lock={lock}"], clean)


