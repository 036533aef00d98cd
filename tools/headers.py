"""tools/headers: read which names NVIDIA's public headers declared, release by release, and record it.

In: a clone of github.com/NVIDIA/TensorRT. Out: the recording `api-history`. A name counts as declared when it stands in
a header outside comments, `*Impl.h` files left out; as deprecated when each of its declarations carries TRT_DEPRECATED.
`BuilderFlag::kINT8` counts inside that enumeration only, because DataType has a kINT8 too. Needed once for a release:
`python -m tools.headers CLONE`.
"""

import re
import subprocess
import sys
from pathlib import Path

from trtlab.engine import recordings
from trtlab.engine.measure import live
from trtlab.lab.support import ApiHistory, Declared

REPOSITORY = "https://github.com/NVIDIA/TensorRT"
TAGS = tuple(
    "7.1.3 8.0.1 8.2.1 8.4.1 8.5.1 v8.6.1 v9.3.0 v10.0.0 v10.1.0 v10.6.0 v10.7.0 v10.8.0 v10.11 v10.12.0 v10.16 "
    "v11.0 v11.1".split()
)
NAMES = tuple(
    """
    createInferRuntime deserializeCudaEngine createExecutionContext buildSerializedNetwork buildEngineWithConfig
    setMaxWorkspaceSize setMemoryPoolLimit setMaxBatchSize getBindingIndex setTensorAddress setInputShape
    enqueueV2 enqueueV3 executeV2
    BuilderFlag::kFP16 BuilderFlag::kINT8 BuilderFlag::kTF32 kOBEY_PRECISION_CONSTRAINTS
    DataType::kFLOAT DataType::kHALF DataType::kINT8 DataType::kINT32 DataType::kBOOL DataType::kUINT8 DataType::kFP8
    DataType::kBF16 DataType::kINT64 DataType::kINT4 DataType::kFP4 DataType::kE8M0
    MemoryPoolType::kWORKSPACE kSTRONGLY_TYPED kEXPLICIT_BATCH
    IInt8EntropyCalibrator2 IInt8MinMaxCalibrator IInt8LegacyCalibrator setDynamicRange setPrecision
    BuilderFlag::kBF16 BuilderFlag::kFP8 IQuantizeLayer IDynamicQuantizeLayer
    IAlgorithmSelector ITimingCache setBuilderOptimizationLevel kEDITABLE_TIMING_CACHE setTilingOptimizationLevel
    IPluginV2DynamicExt IPluginV3 IStreamReader IStreamReaderV2 IProgressMonitor
    """.split()
)
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)


def declared(code: str, name: str) -> Declared:
    """How header text without comments declares a name: `bool enqueueV2(`, `class IPluginV3`, `BuilderFlag::kINT8`."""
    owner, _, name = name.rpartition("::")
    if owner:
        code = "\n".join(re.findall(rf"enum class (?:TRT_DEPRECATED\s+)?{owner}\b[^{{;]*\{{([^}}]*)\}}", code))
    before_it = r"[^;{},]*" if owner or re.match(r"k[A-Z]", name) else r"[^;{}]*"  # enumerators are divided by commas
    pattern = rf"({before_it})\b{name}\b\s*(?=\(|=|,|\bTRT_DEPRECATED|:|\{{|final|$)([^;,{{}}]*)"
    found = [
        before + after
        for before, after in re.findall(pattern, code)
        if not re.search(r"return|->|using|mImpl|~$", before)
    ]
    if not found:
        return Declared.NO
    return Declared.DEPRECATED if all("TRT_DEPRECATED" in text for text in found) else Declared.YES


def _git(clone: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(clone), *words], check=True, capture_output=True, text=True).stdout


def _headers(clone: Path, tag: str) -> dict[str, str]:
    names = [name for name in _git(clone, "ls-tree", "--name-only", tag, "include/").split() if name.endswith(".h")]
    return {name.removeprefix("include/"): _COMMENT.sub("", _git(clone, "show", f"{tag}:{name}")) for name in names}


def record(clone: Path) -> None:
    """Read the tags of a clone and write the recording."""
    headers = {tag: _headers(clone, tag) for tag in TAGS}
    code = {
        tag: "\n".join(text for name, text in files.items() if "Impl" not in name) for tag, files in headers.items()
    }
    made = live(samples=len(TAGS), device=f"the headers of {REPOSITORY}")
    history = ApiHistory(
        tags=tuple(TAGS),
        names={name: {tag: declared(code[tag], name) for tag in TAGS} for name in NAMES},
        headers={tag: tuple(sorted(files)) for tag, files in headers.items()},
        provenance=made,
    )
    recordings.save(history, "api-history", "python -m tools.headers CLONE")


if __name__ == "__main__":
    record(Path(sys.argv[1]))
