module bundlehost

go 1.21

require (
	github.com/daulet/tokenizers v1.27.0
	github.com/yalue/onnxruntime_go v1.35.0
)
